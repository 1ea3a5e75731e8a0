import type { Cursor } from './event.ts'

/**
 * What a stored cursor has been read up to: itself, or the cursor in a checkpoint as a bridge keeps it, `{"cursor":"…","mark":"…"}`.
 * Undefined of what is no position: a page of what operators did to a route, `{"log":[…]}`.
 */
export function readUpTo(stored: Cursor): Cursor | undefined {
  if (!stored.startsWith('{')) return stored
  try {
    const { cursor, log } = JSON.parse(stored) as { readonly cursor?: unknown; readonly log?: unknown }
    if (typeof cursor === 'string') return cursor
    return Array.isArray(log) ? undefined : stored
  } catch {
    return stored
  }
}
