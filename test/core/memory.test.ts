import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { cursorStoreSuite } from '../suites/cursor-store.ts'
import { memoryDestination } from '../suites/memory-sink.ts'
import { sinkSuite } from '../suites/sink.ts'
import { sourceSuite } from '../suites/source.ts'

sourceSuite('memory log', async (options) => {
  const log = memoryLog(options)
  return {
    source: log.source,
    append: async (events) => log.append(...events).map(({ id }) => id),
    trim: async (id) => log.trim(id),
    remove: async (id) => log.remove(id),
    recreate: async () => log.recreate(),
    rewind: async (id) => log.rewind(id),
    malformed: ['x', '-1', '1.5', '1-0', '1 ', '9'.repeat(30), '@1'],
    [Symbol.asyncDispose]: async () => {},
  }
})

cursorStoreSuite('memory', async () => {
  const cursors = memoryCursors()
  return { cursors, another: async () => cursors, [Symbol.asyncDispose]: async () => {} }
})

sinkSuite('memory', async () => {
  const destination = memoryDestination()
  return {
    sink: destination.sink(),
    another: async () => destination.sink(),
    read: async () => [...destination.events],
    loseTail: async (count) => void destination.events.splice(-count),
    wipe: async () => void destination.events.splice(0),
    [Symbol.asyncDispose]: async () => {},
  }
})
