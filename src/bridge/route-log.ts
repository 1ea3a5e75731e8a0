import type { CursorStore } from '../core/cursor.ts'
import { CursorInvalidError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { RouteCheckpoint, Skip } from './checkpoint.ts'

/** What an operator has done to a route: let it past an event, or moved it. */
export type LogEntry =
  | { readonly skip: Skip; readonly move?: undefined }
  | { readonly move: Move; readonly skip?: undefined }

/** A move of a route. */
export interface Move {
  readonly from: Cursor
  readonly to: Cursor
  /** Who moved it. */
  readonly by: string
  /** When, epoch in ms. */
  readonly at: number
}

/** Whose log it is, and how many pages of it its checkpoint knows of. */
export interface LogPlace {
  readonly name: string
  readonly checkpoints: CursorStore
  readonly checkpoint: Pick<RouteCheckpoint, 'log'>
}

/** Of a page, in characters: a cursor store need not hold more than 4,096. */
const MOST_CHARACTERS = 4000

/**
 * What operators have done to a route, the oldest first, but for what its checkpoint still has. It is kept for good, in pages of
 * `{"log":[…]}` beside the checkpoint, under `orders:log:1` and so on; those who read cursors out of the store pass over them.
 */
export async function readLog(
  { name, checkpoints, checkpoint: { log = 0 } }: LogPlace,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<readonly LogEntry[]> {
  const entries: LogEntry[] = []
  for (let page = 1; page <= log; page++) {
    const key = pageOf(name, page)
    entries.push(...parsePage(key, await checkpoints.get(key, { signal })))
  }
  return entries
}

/**
 * Adds what operators have done, but for what is there; resolves with the number of pages that the checkpoint must then know of. Until
 * that is saved nobody sees them: so they are added before the checkpoint drops them, and may be added again.
 */
export async function addToLog(
  { name, checkpoints, checkpoint }: LogPlace,
  entries: readonly LogEntry[],
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<number> {
  let { log = 0 } = checkpoint
  let page = Math.max(1, log)
  for (const entry of entries) {
    for (; ; page++) {
      const key = pageOf(name, page)
      const stored = await checkpoints.get(key, { signal })
      const there = parsePage(key, stored)
      log = Math.max(log, page)
      const text = JSON.stringify(entry)
      if (there.some((each) => JSON.stringify(each) === text)) break
      const next = JSON.stringify({ log: [...there, entry] })
      if (there.length > 0 && next.length > MOST_CHARACTERS) continue
      await checkpoints.set(key, next, stored)
      break
    }
  }
  return log
}

/** Neither a route nor a topic has a colon in its name. */
function pageOf(route: string, page: number): string {
  return `${route}:log:${page}`
}

function parsePage(key: string, stored: string): readonly LogEntry[] {
  if (stored === '') return []
  try {
    const { log } = JSON.parse(stored) as { readonly log?: unknown }
    if (Array.isArray(log)) return log as LogEntry[]
  } catch {
    // falls through to the one error that says what was expected
  }
  throw new CursorInvalidError(`what operators did, ${key}`, { cursor: stored, expected: '{"log":[…]}' })
}
