import { CursorInvalidError } from '../core/errors.ts'
import type { Checkpoint } from '../core/sink.ts'

/** A checkpoint as a cursor store keeps it: `{"cursor":"7","mark":"1700000000000-0"}`. */
export function formatCheckpoint({ cursor, mark }: Checkpoint): string {
  return JSON.stringify({ cursor, mark })
}

/** What `formatCheckpoint` made; undefined of `""`. Throws `CursorInvalidError` on anything else. */
export function parseCheckpoint(route: string, stored: string): Checkpoint | undefined {
  if (stored === '') return undefined
  try {
    const { cursor, mark } = JSON.parse(stored) as Record<string, unknown>
    if (typeof cursor === 'string' && typeof mark === 'string') return { cursor, mark }
  } catch {
    // falls through to the one error that says what was expected
  }
  throw new CursorInvalidError(`the checkpoint of route ${route}`, {
    cursor: stored,
    expected: '{"cursor":"…","mark":"…"}',
  })
}
