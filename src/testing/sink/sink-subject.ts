import type { Event } from '../../core/event.ts'
import type { Sink } from '../../core/sink.ts'
import type { Subject } from '../conformance/property.ts'

/**
 * A fresh, empty destination, and the faults that can be staged with it. The faults that are there *are* what is tested: what is
 * left out is listed as untested.
 *
 * @example
 * const create = async (): Promise<SinkSubject> => {
 *   const topic = await createTopic(fresh())
 *   return { sink: () => mySink(new Client(url), { topic }), read: () => allOf(topic), [Symbol.asyncDispose]: () => deleteTopic(topic) }
 * }
 */
export interface SinkSubject extends Subject {
  /** A sink into the destination as another process would make it, each time. */
  sink(): Sink
  /** All events of the destination, in order, with the headers of the wire. */
  read(): Promise<readonly Event[]>
  /** `at-least-once`: events may come to stand there twice, after a crash or with two writers, but none is lost. Default: `effectively-once`. */
  readonly delivery?: 'effectively-once' | 'at-least-once'
  /** `by foreignId`: only the events of one foreignId are in order among themselves, as in a topic of several partitions. Default: `all`. */
  readonly ordered?: 'all' | 'by foreignId'
  /** The last `count` events are lost, as on a server that was restored from an older copy; fewer than there are, and no writer is open. */
  loseTail?(count: number): Promise<void>
  /** Everything is lost, that of the routes as well; no writer is open. */
  wipe?(): Promise<void>
  /** `loseTail` may also be called while writers are open, as where a server fails over to a copy: they must notice. */
  readonly losesWhileOpen?: true
  /** Every append is answered with an error (read-only, quota, no permission) until what is returned is called. */
  refuse?(): Promise<() => Promise<void> | void>
  /** The server, or the way to it, stands still until what is returned is called. */
  freeze?(): Promise<() => Promise<void> | void>
  /** The server is killed, and started again; resolves once it answers. What was confirmed is still there. */
  restart?(): Promise<void>
  /** Every connection to the server is cut; new ones can be made. */
  cut?(): Promise<void>
  /** Appends take effect, but their replies are dropped, until what is returned is called. */
  loseReplies?(): Promise<() => Promise<void> | void>
  /** A payload of so many bytes is more than the destination takes. */
  readonly oversize?: number
  /** Somebody else appends an event, with which the route has nothing to do. */
  foreign?(): Promise<void>
  /** How many connections or files the sinks hold open now; others may be among them if they are always as many. */
  connections?(): Promise<number>
}
