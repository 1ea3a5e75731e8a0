import { decorateSource } from '../core/decorate.ts'
import { OptionError } from '../core/errors.ts'
import type { Batch, Cursor } from '../core/event.ts'
import { eventStream, openStream, type Source } from '../core/stream.ts'

/** A source that ends at a position, as if that were its head. It must have `compare`. */
export function sourceUntil(source: Source, to: Cursor): Source {
  const compare = source.compare?.bind(source)
  if (compare === undefined)
    throw new OptionError(
      `${source.name}: to be read up to a position a source must have compare, which orders its cursors`,
    )
  return decorateSource(source, async (after, options) => {
    const stream = await openStream((...about) => source.stream(...about), after, { ...options, toHead: true })
    const batches = async function* (): AsyncGenerator<Batch> {
      for await (const batch of stream) {
        const isWhole = compare(batch.cursor, to) <= 0
        if (isWhole) yield batch
        const events = isWhole ? [] : batch.events.filter(({ id }) => compare(id, to) <= 0)
        const last = events.at(-1)
        if (last !== undefined) yield { events, cursor: last.id }
        if (compare(batch.cursor, to) >= 0) return
      }
    }
    return eventStream(batches(), () => stream[Symbol.asyncDispose](), {
      signal: options.signal,
      incarnation: stream.incarnation,
    })
  })
}
