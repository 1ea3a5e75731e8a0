import type { Cursor } from './event.ts'

/** What a stored cursor has been read up to: itself, or the cursor in a checkpoint as a bridge keeps it, `{"cursor":"…","mark":"…"}`. */
export function readUpTo(stored: Cursor): Cursor {
  if (!stored.startsWith('{')) return stored
  try {
    const { cursor } = JSON.parse(stored) as { readonly cursor?: unknown }
    return typeof cursor === 'string' ? cursor : stored
  } catch {
    return stored
  }
}
