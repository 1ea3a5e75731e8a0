import type { Cursor, NewEvent } from '../../core/event.ts'
import type { Source } from '../../core/stream.ts'
import type { Subject } from '../conformance/property.ts'

/**
 * A fresh, empty log with a source over it, and the faults that can be staged with it. The faults that are there *are* what is
 * tested: what is left out is listed as untested.
 *
 * @example
 * const create = (): SourceSubject => {
 *   const log = memoryLog()
 *   return { source: log.source, append: async (events) => log.append(...events).map(({ id }) => id), trim: async (id) => log.trim(id) }
 * }
 */
export interface SourceSubject extends Subject {
  readonly source: Source
  /**
   * Appends in order, as whoever writes the log does. Resolves once every event is readable, with their ids, or undefined if
   * the writer is not told them. An event that the log cannot carry unchanged is refused with an error whose `code` is
   * `EVENT_UNENCODABLE`, and nothing is appended; small events of type 1 with an ASCII foreignId must be accepted. Works again after
   * `restart` and `thaw`.
   */
  append(events: readonly NewEvent[]): Promise<readonly string[] | undefined>
  /** Cursors that are not of this log, beside those that are of no log. */
  readonly malformed?: readonly Cursor[]
  /** Retention: everything before the event `id` goes. */
  trim?(id: string): Promise<void>
  /** The event `id` goes, out of the middle (compaction, deletion). */
  remove?(id: string): Promise<void>
  /** The log is deleted and made again under the same name, empty. */
  recreate?(): Promise<void>
  /**
   * Everything after the event `id` is lost, as on a server that was restored from an older copy. Left out for a log that has other
   * records between its events: after the next append it may stand where it stood, and nobody can tell.
   */
  rewind?(id: string): Promise<void>
  /** Appends something that is not an event. */
  corrupt?(): Promise<void>
  /** The server is killed, and started again. */
  restart?(): Promise<void>
  /** The server, or the way to it, stands still until what is returned is called. */
  freeze?(): Promise<() => Promise<void> | void>
  /** Every connection to the server is cut; new ones can be made. */
  cut?(): Promise<void>
  /** How many connections, consumers or files the source holds open now; others may be among them if they are always as many. */
  connections?(): Promise<number>
}
