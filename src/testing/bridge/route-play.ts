import type { BridgeSubject } from './bridge-subject.ts'
import type { RouteModel } from './route-model.ts'
import type { RouteWorld } from './route-world.ts'

/** The route of a schedule, and all that goes on with it. */
export interface RoutePlay {
  readonly subject: BridgeSubject
  readonly world: RouteWorld
  readonly model: RouteModel
  readonly fromHead: boolean
  /** The most events in a batch. */
  readonly batch: number
  /** What takes effect late, and has not yet. */
  readonly late: Set<Promise<void>>
  /** Sources that are being opened: meanwhile nothing is appended, so that it is known where their head is. */
  readonly opening: Set<Promise<unknown>>
  /** What is being appended: until its ids are known nobody reads it. */
  appending: Promise<void> | undefined
  /** Lives that found no checkpoint and have saved none. */
  readonly starting: Set<object>
  /** How many times something happened that a life at work may fail of. */
  disturbances: number
  /** How many processes run. */
  alive: number
  /** The destination refuses, or stands still. */
  refusing: boolean
  /** The source's first events are gone: so many. */
  trimmed: number
}
