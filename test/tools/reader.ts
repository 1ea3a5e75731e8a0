import { inspect } from 'node:util'
import { savedCursor } from '../../src/core/cursor.ts'
import type { Batch, Cursor, Event } from '../../src/core/event.ts'
import type { EventStream } from '../../src/core/stream.ts'

/** Reads a stream by events instead of batches, and knows where it stands. Disposing it closes the stream. */
export interface Reader extends AsyncDisposable {
  /** What `run` would save after the last event that was taken. */
  readonly cursor: Cursor
  /** Reads on until `count` more events have come; throws if the stream ends before. */
  take(count: number): Promise<Event[]>
  /** Reads until the stream ends. */
  rest(): Promise<Event[]>
  /** The next batch as it comes; nothing may be left over from `take`. */
  batch(): Promise<Batch>
}

/** Makes a reader of an open stream that was opened at `after`. No single read may take longer than `limitMs`. */
export function reader(stream: EventStream, after: Cursor = '', limitMs = 10_000): Reader {
  const iterator = stream[Symbol.asyncIterator]()
  let position: Cursor = after
  let left: readonly Event[] = []
  let end: Cursor = ''

  const pull = async (): Promise<Batch | undefined> => {
    const { done, value } = await within(iterator.next(), limitMs, 'a read')
    if (done) return undefined
    position = savedCursor(value.cursor, stream.incarnation)
    return value
  }
  const use = (batch: Batch, wanted: number): readonly Event[] => {
    const used = batch.events.slice(0, wanted)
    left = batch.events.slice(wanted)
    end = batch.cursor
    position = savedCursor(left.length > 0 ? (used.at(-1)?.id ?? '') : end, stream.incarnation)
    return used
  }
  return {
    get cursor() {
      return position
    },
    take: async (count) => {
      const taken: Event[] = []
      while (taken.length < count) {
        const batch = left.length > 0 ? { events: left, cursor: end } : await pull()
        if (batch === undefined) throw new Error(`the stream ended after ${taken.length} of ${count} events`)
        if (batch.events.length > 0) taken.push(...use(batch, count - taken.length))
      }
      return taken
    },
    rest: async () => {
      const taken = [...left]
      if (left.length > 0) position = savedCursor(end, stream.incarnation)
      left = []
      for (;;) {
        const batch = await pull()
        if (batch === undefined) return taken
        taken.push(...batch.events)
      }
    },
    batch: async () => {
      const batch = await pull()
      if (batch === undefined) throw new Error('the stream ended')
      return batch
    },
    [Symbol.asyncDispose]: () => stream[Symbol.asyncDispose](),
  }
}

/** What `promise` becomes, or an error that names `what` if that takes longer than `ms`. */
export async function within<T>(promise: PromiseLike<T>, ms: number, what: string): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`${what} took longer than ${ms} ms`)), ms)
  try {
    return await Promise.race([promise, late.promise])
  } finally {
    clearTimeout(timer)
  }
}

/** The error that `promise` rejects with; throws if it resolves, or takes longer than `ms`. */
export async function errorOf(promise: PromiseLike<unknown>, ms = 10_000, what = 'the error'): Promise<unknown> {
  const settled = Promise.resolve(promise).then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  )
  const outcome = await within(settled, ms, what)
  if ('error' in outcome) return outcome.error
  throw new Error(`expected ${what}, but it resolved with ${inspect(outcome.value)}`)
}

/** Asks until `condition` holds; throws after `ms` with what was asked for. */
export async function eventually(condition: () => boolean | Promise<boolean>, ms: number, what: string): Promise<void> {
  for (const deadline = Date.now() + ms; ; ) {
    if (await condition()) return
    if (Date.now() > deadline) throw new Error(`${what}: not within ${ms} ms`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
