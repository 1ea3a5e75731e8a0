import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'
import {
  type SimulatedDestinationOptions,
  simulatedDestination,
} from '../../src/testing/simulation/simulated-destination.ts'
import type { SinkSubject } from '../../src/testing/sink/sink-subject.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import type { AdapterSubjects } from './adapter-subjects.ts'

/** Logs, cursors and destinations in memory, which take part in the simulations. */
export async function memorySubjects(): Promise<AdapterSubjects> {
  async function source(): Promise<SourceSubject> {
    const log = memoryLog({ batchSize: 3 })
    return {
      source: log.source,
      append: async (events) => log.append(...events).map(({ id }) => id),
      trim: async (id) => log.trim(id),
      remove: async (id) => log.remove(id),
      recreate: async () => log.recreate(),
      rewind: async (id) => log.rewind(id),
      malformed: ['x', '-1', '1.5', '1 ', '9'.repeat(16), '@1'],
    }
  }

  async function sink(options: SimulatedDestinationOptions): Promise<SinkSubject> {
    const destination = simulatedDestination({ ...options, maxBytes: 1024 * 1024 })
    return {
      sink: () => destination.sink(),
      read: async () => destination.events,
      loseTail: async (count) => void destination.events.splice(-count),
      losesWhileOpen: true,
      wipe: async () => destination.wipe(),
      refuse: async () => destination.refuse(),
      oversize: 1024 * 1024 + 1,
    }
  }

  return {
    sources: { memoryLog: source },
    sinks: {
      'simulatedDestination that keeps its position': () => sink({ keeps: 'position' }),
      'simulatedDestination of events alone': () => sink({ keeps: 'events' }),
    },
    stores: { memoryCursors: async (): Promise<CursorStoreSubject> => ({ cursors: memoryCursors() }) },
    [Symbol.asyncDispose]: async () => {},
  }
}
