import { FencedError } from '../../src/core/errors.ts'
import type { Cursor, Event } from '../../src/core/event.ts'
import type { Sink } from '../../src/core/sink.ts'
import { decodeFields, encodeFields } from '../../src/core/wire.ts'

/** A destination in memory: what a sink of a real broker does, in its shortest form. */
export interface MemoryDestination {
  /** The events in order, with the headers of the wire. */
  readonly events: Event[]
  /** A writer of this destination; each call stands for a process. */
  sink(): Sink
}

/** Makes an effectively-once destination that keeps entries and checkpoint together, as the Redis sink does. */
export function memoryDestination(): MemoryDestination {
  const events: Event[] = []
  const routes = new Map<string, { epoch: number; cursor: Cursor; length: number }>()
  return {
    events,
    sink: () => ({
      name: 'memory',
      open: async ({ route, source, saved, signal }) => {
        signal?.throwIfAborted()
        const known = routes.get(route) ?? { epoch: 0, cursor: saved?.cursor ?? '', length: 0 }
        const epoch = known.epoch + 1
        routes.set(route, { ...known, epoch })
        let repair: string | undefined
        let { cursor } = known
        if (events.length < known.length) {
          cursor = (events.at(-1)?.headers['reflex-source-id'] as string | undefined) ?? ''
          repair = `the last ${known.length - events.length} events were lost: resuming after ${JSON.stringify(cursor)}`
        }
        return {
          resumeFrom: cursor,
          ...(repair === undefined ? {} : { repair }),
          append: async (batch, next) => {
            const encoded = batch.map((event): Event => {
              const { isNull, ...fields } = decodeFields(encodeFields(event, source)) as NonNullable<
                ReturnType<typeof decodeFields>
              >
              return { ...fields, id: '', metadata: isNull ? null : event.metadata }
            })
            await Promise.resolve()
            if (routes.get(route)?.epoch !== epoch)
              throw new FencedError(`another writer has taken over the route ${route}`)
            for (const event of encoded) events.push({ ...event, id: String(events.length + 1) })
            routes.set(route, { epoch, cursor: next, length: events.length })
            return String(events.length)
          },
          [Symbol.asyncDispose]: async () => {},
        }
      },
    }),
  }
}
