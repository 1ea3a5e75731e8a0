import { ReflexError } from '../../core/errors.ts'

/** What an operator wants of a route. */
export type Wanted = (typeof wants)[number]

const wants = ['running', 'paused', 'stopped'] as const

/** What is wanted of a route, who wants it, and who has obeyed. */
export interface ControlRecord {
  readonly wanted: Wanted
  /** Who wanted it. */
  readonly by: string
  /** When, in ISO 8601. */
  readonly at: string
  /** The process that has obeyed; undefined as long as none has. */
  readonly obeyed?: { readonly by: string; readonly at: string } | undefined
  /** Who has to know whether all have obeyed asks them; the next one who asks begins anew. */
  readonly ask?: Ask | undefined
}

/** A question to every process that runs a route: whether it does what is wanted. */
export interface Ask {
  readonly id: string
  /** One of each process that is alive. */
  readonly answers: readonly { readonly by: string; readonly obeys: boolean }[]
}

/** A record as a cursor store keeps it, in JSON. */
export function formatControl(record: ControlRecord): string {
  return JSON.stringify(record)
}

/** What `formatControl` made; undefined of `""`: nobody has wanted anything yet. Throws `CONTROL_INVALID` on anything else. */
export function parseControl(route: string, stored: string): ControlRecord | undefined {
  if (stored === '') return undefined
  try {
    const record: unknown = JSON.parse(stored)
    if (isRecord(record)) return record
  } catch {
    // falls through to the one error that says what was expected
  }
  throw new ReflexError(
    'CONTROL_INVALID',
    `what is wanted of the route ${route} cannot be read: expected {"wanted":"${wants.join('|')}",…}, found ${JSON.stringify(stored.slice(0, 100))}: pause, resume or stop the route to write it anew`,
    { retriable: false },
  )
}

function isRecord(value: unknown): value is ControlRecord {
  const { wanted, obeyed, ask } = Object(value) as Partial<ControlRecord>
  const isBy = (each: unknown): boolean => areStrings(each, ['by', 'at'])
  return wants.some((each) => each === wanted) && isBy(value) && (obeyed === undefined || isBy(obeyed)) && isAsk(ask)
}

function isAsk(ask: unknown): boolean {
  const { answers } = Object(ask) as Partial<Ask>
  const isAnswer = (each: Ask['answers'][number]): boolean =>
    areStrings(each, ['by']) && typeof each.obeys === 'boolean'
  return ask === undefined || (areStrings(ask, ['id']) && Array.isArray(answers) && answers.every(isAnswer))
}

function areStrings(value: unknown, names: readonly string[]): boolean {
  return names.every((name) => typeof Object(value)[name] === 'string')
}
