import { ReflexError } from '../../core/errors.ts'

/** A history that cannot be checked because it is not one. Code `HISTORY_INVALID`. */
export class HistoryError extends ReflexError {
  override readonly name = 'HistoryError'
  /** `line` and its number from 1 where text was parsed, else `operation` and its index from 0. */
  readonly unit: 'line' | 'operation'
  readonly at: number

  constructor(
    unit: 'line' | 'operation',
    at: number,
    { expected, found, cause }: { expected: string; found: unknown; cause?: unknown },
  ) {
    super('HISTORY_INVALID', `${unit} ${at}: expected ${expected}, but found ${shown(found)}`, {
      cause,
      retriable: false,
    })
    this.unit = unit
    this.at = at
  }
}

/** JSON where there is one, short enough for a message. */
function shown(found: unknown): string {
  if (found === undefined) return 'nothing'
  const text = typeof found === 'bigint' ? `the bigint ${found}` : (JSON.stringify(found) ?? String(found))
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}
