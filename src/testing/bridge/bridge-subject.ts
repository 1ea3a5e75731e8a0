import type { bridge } from '../../bridge/bridge.ts'
import type { CursorStore } from '../../core/cursor.ts'
import type { Event, NewEvent } from '../../core/event.ts'
import type { Sink } from '../../core/sink.ts'
import type { Source } from '../../core/stream.ts'
import type { Subject } from '../conformance/property.ts'

/**
 * A whole route, fresh and empty, and the faults that can be staged with it. The faults that are there *are* what is tested: what
 * is left out is listed as untested. The suite wraps the source, the sink and the checkpoints, so that processes crash, requests
 * get lost and answers come late without any help of the parts.
 *
 * @example
 * const create = (): BridgeSubject => {
 *   const log = memoryLog()
 *   const destination = simulatedDestination()
 *   return {
 *     simulated: true,
 *     source: log.source,
 *     append: async (events) => log.append(...events).map(({ id }) => id),
 *     sink: destination.sink,
 *     read: async () => destination.events,
 *     checkpoints: memoryCursors(),
 *   }
 * }
 */
export interface BridgeSubject extends Subject {
  readonly source: Source
  /**
   * Appends in order, as whoever writes the log does. Resolves once every event is readable, with their ids, or with nothing if
   * the writer is not told them. An event that the log cannot carry is refused with an error whose `code` is `EVENT_UNENCODABLE`,
   * and nothing is appended.
   */
  append(events: readonly NewEvent[]): Promise<readonly string[] | undefined>
  /** A writer of the destination as a new process would make it. */
  sink(): Sink
  /** All events of the destination in order, with the headers of the wire. */
  read(): Promise<readonly Event[]>
  readonly checkpoints: CursorStore
  /** What forwards. Default: this package's. */
  readonly bridge?: typeof bridge | undefined
  /**
   * The parts are in memory: they wait for nothing but each other, and take no time but that of the clock they are given. Schedules
   * are then played in virtual time and in an order that they decide. Default: false, they are real and run as they run.
   */
  readonly simulated?: boolean | undefined
  /** `at-least-once`: a crash may leave events twice, the later time in the same order. Default: `effectively-once`. */
  readonly delivery?: 'effectively-once' | 'at-least-once' | undefined
  /** Events that `append` accepts and the destination cannot hold: too large, or not to be encoded. */
  readonly unacceptable?: readonly NewEvent[] | undefined
  /** Takes positions of the source that will never hold an event (rollbacks, control records). */
  skip?(count: number): Promise<void> | void
  /** Retention of the source: everything before the event `id` goes. */
  trim?(id: string): Promise<void> | void
  /** The destination loses its last `count` events, as a broker does that is restored from an older copy. */
  loseTail?(count: number): Promise<void> | void
  /** What the destination loses may be lost under a bridge that is at work too, as on a server that fails over. Default: only between two. */
  readonly losesWhileOpen?: boolean | undefined
  /** The destination loses everything. */
  wipe?(): Promise<void> | void
  /** The destination answers every append with an error (read-only, quota, no permission) until what is returned is called. */
  refuse?(): Promise<() => Promise<void> | void>
  /** The destination is killed, and started again. */
  restart?(): Promise<void>
  /** The destination, or the way to it, stands still until what is returned is called. */
  freeze?(): Promise<() => Promise<void> | void>
  /** Every connection to the destination is cut; new ones can be made. */
  cut?(): Promise<void>
}
