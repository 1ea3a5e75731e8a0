import type { Batch, Event } from '../../core/event.ts'
import { eventStream, openStream, type StreamFunc } from '../../core/stream.ts'

/** The same stream in batches of `maxEvents` at most. */
export function splitBatches(stream: StreamFunc, maxEvents: number): StreamFunc {
  return async (after, options) => {
    const opened = await openStream(stream, after, options)
    async function* parts(): AsyncGenerator<Batch> {
      for await (const batch of opened) {
        const { events, cursor } = batch
        let from = 0
        for (; events.length - from > maxEvents; from += maxEvents) {
          const part = events.slice(from, from + maxEvents)
          yield { events: part, cursor: (part.at(-1) as Event).id }
        }
        yield from === 0 ? batch : { events: events.slice(from), cursor }
      }
    }
    return eventStream(parts(), () => opened[Symbol.asyncDispose](), {
      signal: options.signal,
      incarnation: opened.incarnation,
    })
  }
}
