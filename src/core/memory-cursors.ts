import type { CursorStore } from './cursor.ts'
import { CursorConflictError } from './errors.ts'
import type { Cursor } from './event.ts'

/** A cursor store in this process's memory, for tests and for consumers that start over with the process. */
export function memoryCursors(): CursorStore {
  const stored = new Map<string, { readonly cursor: Cursor; readonly reset: boolean }>()
  return {
    get: async (consumer, { signal } = {}) => {
      signal?.throwIfAborted()
      return stored.get(consumer)?.cursor ?? ''
    },
    set: async (consumer, cursor, expected) => {
      const { cursor: actual, reset } = stored.get(consumer) ?? { cursor: '', reset: false }
      if (actual !== expected && actual !== cursor) throw new CursorConflictError({ consumer, expected, actual, reset })
      stored.set(consumer, { cursor, reset: false })
    },
    reset: async (consumer, cursor) => {
      stored.set(consumer, { cursor, reset: true })
    },
    list: async () => new Map([...stored].map(([consumer, { cursor }]) => [consumer, cursor])),
  }
}
