import type { CursorStore } from '../core/cursor.ts'
import { CursorConflictError, codeOf } from '../core/errors.ts'

/**
 * Moves cursors from one store to another while their consumers go on: reads from `to`, and from `from` what is not there yet;
 * writes to `to`, by compare-and-set against what was read. A consumer is moved by its first save. `""`, which is how a store
 * says that it has none, is written to both, so that the old cursor does not show through.
 *
 * Two stores cannot fence each other: a runner that still saves to `from` is noticed by the first save, as a
 * `CursorConflictError`, and no longer after it. Then both handle the same events; none is lost. Stop the old runners first.
 *
 * @example run({ stream, cursors: readThroughCursors({ from: mysqlCursors(pool), to: redisCursors(redis) }), consumer })
 */
export function readThroughCursors({
  from,
  to,
}: {
  readonly from: CursorStore
  readonly to: CursorStore
}): CursorStore {
  /** Consumers that `to` had a cursor of: of these it alone is asked, until somebody says that there should be none. */
  const moved = new Set<string>()

  async function set(consumer: string, cursor: string, expected: string): Promise<void> {
    if (!(moved.has(consumer) && cursor !== '' && expected !== '')) {
      const actual = await from.get(consumer)
      const isMoved = (await to.get(consumer)) !== ''
      if (!isMoved && actual !== expected && actual !== cursor) return refuse(consumer, cursor, { expected, actual })
      if (cursor === '' && actual !== '') await from.set(consumer, '', actual)
      if (!isMoved && cursor !== '') return to.set(consumer, cursor, '')
    }
    await to.set(consumer, cursor, expected)
  }
  /** `to` knows whether it was reset, and whether it has been moved to just now. */
  async function refuse(
    consumer: string,
    cursor: string,
    { expected, actual }: { readonly expected: string; readonly actual: string },
  ): Promise<void> {
    let reset = false
    try {
      if (expected !== '') return await to.set(consumer, cursor, expected)
    } catch (error) {
      if (codeOf(error) !== 'CURSOR_CONFLICT') throw error
      reset = (error as CursorConflictError).reset
    }
    throw new CursorConflictError({ consumer, expected, actual, reset })
  }

  return {
    get: async (consumer, options) => {
      const cursor = await to.get(consumer, options)
      if (cursor === '') return from.get(consumer, options)
      moved.add(consumer)
      return cursor
    },
    set: async (consumer, cursor, expected) => {
      await set(consumer, cursor, expected)
      if (cursor === '') moved.delete(consumer)
      else moved.add(consumer)
    },
    reset: async (consumer, cursor) => {
      if (cursor === '') await from.reset(consumer, '') // first: until both are, the consumer is where it was
      await to.reset(consumer, cursor)
      moved.delete(consumer)
    },
    ...(from.list &&
      to.list && {
        list: async () => {
          const all = new Map(await from.list?.())
          for (const [consumer, cursor] of (await to.list?.()) ?? []) {
            if (cursor !== '' || !all.has(consumer)) all.set(consumer, cursor)
          }
          return all
        },
      }),
  }
}
