import type { Batch } from '../../core/event.ts'
import type { EventStream } from '../../core/stream.ts'

/** Reads a stream batch by batch; while one is looked at, the next one is on its way. */
export interface BatchReader {
  /** Undefined at the end. */
  next(): Promise<Batch | undefined>
}

/** Starts to read. */
export function batchReader(stream: EventStream): BatchReader {
  const iterator = stream[Symbol.asyncIterator]()
  const read = (): Promise<IteratorResult<Batch>> => {
    const reading = iterator.next()
    reading.catch(() => {}) // seen when it is asked for
    return reading
  }
  let reading = read()
  return {
    next: async () => {
      const { done, value } = await reading
      if (done) return undefined
      reading = read()
      return value
    },
  }
}
