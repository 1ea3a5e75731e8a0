import type { Clock } from '../core/clock.ts'
import type { Batch } from '../core/event.ts'
import type { EventStream } from '../core/stream.ts'

/** A stream that is being read. Disposing it does not close the stream. */
export interface ReadAhead extends AsyncDisposable {
  /** The next batch; while it is taken care of, the one after it is read, and no more (rule 7). */
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

/** Starts to read a stream. */
export function readAhead(stream: EventStream, { clock, whileIdle, everyMs }: ReadAheadOptions): ReadAhead {
  const iterator = stream[Symbol.asyncIterator]()
  const ended = new AbortController()
  let wake = (): void => {}

  function read(): { readonly result: Promise<IteratorResult<Batch>>; settled: boolean } {
    const reading = { result: iterator.next(), settled: false }
    const settle = (): void => {
      reading.settled = true
      wake()
    }
    reading.result.then(settle, settle) // an error is seen when it is awaited; not at all if the batch before it fails
    return reading
  }
  async function wakeRegularly(): Promise<void> {
    for (;;) {
      await clock.sleep(everyMs, ended.signal)
      wake()
    }
  }

  let reading = read()
  wakeRegularly().catch(() => {}) // ends when this is disposed of
  return {
    next: async () => {
      while (!reading.settled) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        if (!reading.settled) await whileIdle()
      }
      const result = await reading.result
      if (!result.done) reading = read()
      return result
    },
    [Symbol.asyncDispose]: async () => ended.abort(DISPOSED),
  }
}
