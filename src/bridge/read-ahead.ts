import { breather } from '../core/breather.ts'
import type { Clock } from '../core/clock.ts'
import type { Batch, Event } from '../core/event.ts'
import type { EventStream } from '../core/stream.ts'

/** A stream that is being read. Disposing it does not close the stream. */
export interface ReadAhead extends AsyncDisposable {
  /**
   * The next batch; while it is taken care of, the one after it is read, and no more (rule 7). A batch that is smaller than the largest
   * one so far goes on growing until it is asked for, by what the stream gives next: what comes during an append goes with the next one.
   */
  next(): Promise<IteratorResult<Batch>>
}

/** Options of `readAhead`. */
export interface ReadAheadOptions {
  readonly clock: Clock
  /** Called every `everyMs` while `next` waits, which rejects with what it throws. */
  whileIdle(): Promise<void>
  readonly everyMs: number
}

/** Nobody sees it; an abort without a reason would make an error, with a stack, each time. */
const DISPOSED = 'disposed'
/** A batch with more payload does not grow. */
const MOST_BYTES = 256 * 1024

/** Starts to read a stream. */
export function readAhead(stream: EventStream, { clock, whileIdle, everyMs }: ReadAheadOptions): ReadAhead {
  const iterator = stream[Symbol.asyncIterator]()
  const disposed = new AbortController()
  let wake = (): void => {}
  let batch: Batch | undefined
  /** What came after `batch`, and is no batch. */
  let end: Promise<IteratorResult<Batch>> | undefined
  let largest = 0
  let isReading = false
  let grown: Event[] | undefined // the events of `batch`, once it has grown
  let bytes = 0 // of payload in them

  async function read(): Promise<void> {
    isReading = true
    const breathe = breather(clock)
    for (let grows = true; grows && end === undefined; wake()) {
      const reading = (async () => await iterator.next())() // also what it throws at once is an error of the stream
      const result = await reading.catch(() => undefined) // an error is seen when `end` is awaited
      if (result === undefined || result.done) end = reading
      else {
        const { events, cursor } = result.value
        if (batch === undefined) {
          batch = { events, cursor }
          grown = undefined
          bytes = 0
        } else {
          grown ??= [...batch.events]
          for (const event of events) grown.push(event)
          batch = { events: grown, cursor }
        }
        bytes += bytesOf(events)
        largest = Math.max(largest, events.length)
        grows = events.length > 0 && batch.events.length < largest && bytes < MOST_BYTES
        if (grows) await breathe() // a source that has all of it at hand does not let others in
      }
    }
    isReading = false
  }
  async function wakeRegularly(): Promise<void> {
    for (;;) {
      await clock.sleep(everyMs, disposed.signal)
      wake()
    }
  }

  void read()
  wakeRegularly().catch(() => {}) // ends when this is disposed of
  return {
    next: async () => {
      const isThere = (): boolean => batch !== undefined || end !== undefined
      while (!isThere()) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        if (!isThere()) await whileIdle()
      }
      if (batch === undefined) return await (end as Promise<IteratorResult<Batch>>)
      const value = batch
      batch = undefined
      if (!isReading) void read()
      return { done: false, value }
    },
    [Symbol.asyncDispose]: async () => disposed.abort(DISPOSED),
  }
}

function bytesOf(events: readonly Event[]): number {
  return events.reduce((sum, { metadata }) => sum + (metadata?.length ?? 0), 0)
}
