import { type CursorStore, positionIn, savedCursor } from '../../core/cursor.ts'
import { CursorAheadError, ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { PartitionBounds } from './partition-log.ts'

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
   * a partition that the topic does not have; if this topic has it, an error that is retriable, since the broker will hear of it.
   */
  all(topic: {
    readonly id: string
    readonly partitions: number
    readonly signal?: AbortSignal | undefined
  }): Promise<Cursor[]>
  /**
   * Stores a position for each partition without a cursor. The head for those below the first that has a cursor, or for all if none
   * has one: the highest comes first, so that just these are left when a pinning ends early, and none when it has ended. Then the
   * beginning for those above, which have been added to the topic since, or were reset to `""`: the lowest comes first. Without a
   * cursor of partition 0 the pinning has not ended: a reset of that one to `""` cannot be told from this.
   */
  pin(
    stored: readonly Cursor[],
    topic: {
      readonly id: string
      /** Those below are at work already, and left alone; all others are new if there are any. */
      readonly started: number
      bounds(): Promise<readonly PartitionBounds[]>
      readonly signal?: AbortSignal | undefined
    },
  ): Promise<void>
}

/** Makes the cursors of a consumer of a topic. */
export function topicCursors({ log, topic, cursors, consumer }: TopicCursorsOptions): TopicCursors {
  const nameOf = (partition: number): string => `${consumer}/${topic}/${partition}`
  const notHeardOf = (partition: number): ReflexError =>
    new ReflexError(
      'KAFKA_UNKNOWN_TOPIC_OR_PARTITION',
      `${log}: the broker has not heard of partition ${partition} yet, which has been added; look again`,
    )
  const get: TopicCursors['get'] = (partition, { signal }) => cursors.get(nameOf(partition), { signal })
  return {
    nameOf,
    get,
    all: async ({ id, partitions, signal }) => {
      const stored = await Promise.all(Array.from({ length: partitions + 1 }, (_, each) => get(each, { signal })))
      const beyond = stored.pop() ?? ''
      for (const cursor of stored) if (/@./.test(cursor)) positionIn(log, cursor, id)
      if (beyond === '') return stored
      if (beyond.endsWith(`@${id}`)) throw notHeardOf(partitions) // a topic never loses one
      throw new CursorAheadError(`${log}, ${JSON.stringify(nameOf(partitions))}`, {
        cursor: beyond,
        reason: 'recreated',
        found: `a topic with the partitions 0 to ${partitions - 1} alone`,
      })
    },
    pin: async (stored, { id, started, bounds, signal }) => {
      const first = started > 0 ? 0 : stored.findIndex((cursor) => cursor !== '')
      const isOld = (partition: number): boolean => first < 0 || partition < first
      const unpinned = [...stored.keys()].filter((each) => each >= started && stored[each] === '')
      if (unpinned.length === 0) return
      const ends = await bounds()
      for (const partition of [...unpinned.filter(isOld).reverse(), ...unpinned.filter((each) => !isOld(each))]) {
        signal?.throwIfAborted()
        const found = ends[partition]
        if (found === undefined) throw notHeardOf(partition)
        const next = isOld(partition) ? found.high : found.low
        await cursors.set(nameOf(partition), savedCursor(String(next - 1n), id), '')
      }
    },
  }
}
