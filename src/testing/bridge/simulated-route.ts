import type { bridge } from '../../bridge/bridge.ts'
import type { NewEvent } from '../../core/event.ts'
import { memoryCursors } from '../../core/memory-cursors.ts'
import { memoryLog } from '../../core/memory-log.ts'
import {
  type SimulatedDestination,
  type SimulatedDestinationOptions,
  simulatedDestination,
} from '../simulation/simulated-destination.ts'
import type { BridgeSubject } from './bridge-subject.ts'

/** Options of `simulatedRoute`. */
export interface SimulatedRouteOptions extends Omit<SimulatedDestinationOptions, 'maxBytes'> {
  /** What forwards. Default: this package's bridge. */
  readonly bridge?: typeof bridge | undefined
  /** Default: a `simulatedDestination` that keeps and fences as is said here. */
  readonly destination?: SimulatedDestination | undefined
}

const MAX_BYTES = 200_000
const unacceptable: readonly NewEvent[] = [
  { type: 1, foreignId: '\ud800' },
  { type: 1, foreignId: 'large', metadata: new Uint8Array(MAX_BYTES + 1) },
]

/**
 * Makes a route in memory that every fault can be staged with: to see what the suite sees, and to test a bridge of your own.
 *
 * @example await verify({ of: 'bridge', create: () => simulatedRoute({ bridge: myBridge }) })
 */
export function simulatedRoute(options: SimulatedRouteOptions = {}): BridgeSubject {
  const log = memoryLog({ name: 'log' })
  const destination = options.destination ?? simulatedDestination({ ...options, maxBytes: MAX_BYTES })
  return {
    simulated: true,
    source: log.source,
    append: async (events) => log.append(...events).map(({ id }) => id),
    sink: destination.sink,
    read: async () => destination.events,
    checkpoints: memoryCursors(),
    bridge: options.bridge,
    unacceptable,
    skip: (count) => log.skip(count),
    trim: (id) => log.trim(id),
    loseTail: (count) => void (count > 0 && destination.events.splice(-count)),
    wipe: () => destination.wipe(),
    refuse: async () => destination.refuse(),
  }
}
