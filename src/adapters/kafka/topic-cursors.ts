import { type CursorStore, positionIn, savedCursor } from '../../core/cursor.ts'
import { CursorAheadError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'

/** Where the cursors of one consumer of a topic are kept. */
export interface TopicCursorsOptions {
  /** Names the topic in errors. */
  readonly log: string
  readonly topic: string
  readonly cursors: CursorStore
  /** The consumer's name. */
  readonly consumer: string
}

/** The cursors of one consumer of a topic: one for each partition, which is called `<consumer>/<topic>/<partition>`. */
export interface TopicCursors {
  nameOf(partition: number): string
  /** The cursor of a partition. */
  get(partition: number, options: { readonly signal: AbortSignal | undefined }): Promise<Cursor>
  /**
   * The cursors of all partitions. Throws `CursorAheadError` if one of them was saved for an earlier topic of this name, or for
   * a partition that the topic does not have.
   */
  all(topic: {
    readonly id: string
    readonly partitions: number
    readonly signal?: AbortSignal | undefined
  }): Promise<Cursor[]>
  /**
   * Stores the position of the head for each partition without a cursor: for all of them if none has one, else for those below
   * the last that has. The highest comes first; so what is above any cursor has been added to the topic since, and is not pinned.
   */
  pin(
    stored: readonly Cursor[],
    topic: {
      readonly id: string
      heads(): Promise<readonly Cursor[]>
      readonly signal?: AbortSignal | undefined
    },
  ): Promise<void>
}

/** Makes the cursors of a consumer of a topic. */
export function topicCursors({ log, topic, cursors, consumer }: TopicCursorsOptions): TopicCursors {
  const nameOf = (partition: number): string => `${consumer}/${topic}/${partition}`
  const get: TopicCursors['get'] = (partition, { signal }) => cursors.get(nameOf(partition), { signal })
  return {
    nameOf,
    get,
    all: async ({ id, partitions, signal }) => {
      const stored = await Promise.all(Array.from({ length: partitions + 1 }, (_, each) => get(each, { signal })))
      const beyond = stored.pop() ?? ''
      for (const cursor of stored) if (/@./.test(cursor)) positionIn(log, cursor, id)
      if (beyond === '') return stored
      throw new CursorAheadError(`${log}, ${JSON.stringify(nameOf(partitions))}`, {
        cursor: beyond,
        reason: 'recreated',
        found: `a topic with the partitions 0 to ${partitions - 1} alone`,
      })
    },
    pin: async (stored, { id, heads, signal }) => {
      const last = stored.findLastIndex((cursor) => cursor !== '')
      const unpinned = [...stored.keys()].filter((each) => stored[each] === '' && (last < 0 || each < last))
      if (unpinned.length === 0) return
      const positions = await heads()
      for (const partition of unpinned.reverse()) {
        signal?.throwIfAborted()
        await cursors.set(nameOf(partition), savedCursor(positions[partition] as Cursor, id), '')
      }
    },
  }
}
