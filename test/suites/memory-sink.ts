import { FencedError, ReflexError } from '../../src/core/errors.ts'
import type { Cursor, Event } from '../../src/core/event.ts'
import type { Sink } from '../../src/core/sink.ts'
import { decodeFields, encodeFields, wireNames } from '../../src/core/wire.ts'

/** A destination in memory: what a sink of a real broker does, in its shortest form. */
export interface MemoryDestination {
  /** The events in order, with the headers of the wire. Taking some off the end is how the destination loses its tail. */
  readonly events: Event[]
  /** Loses everything, the routes' positions and their fences as well. */
  wipe(): void
  /** A writer of this destination; each call stands for a process. */
  sink(): Sink
}

/** What kind of a destination it is. */
export interface MemoryDestinationOptions {
  /**
   * `position`: the route's position is kept with the events, and both are lost together, as in Redis and Kafka. `events`: there
   * is nothing but the events, so that the checkpoint counts and the tail is searched, as in JetStream. Default: `position`.
   */
  readonly keeps?: 'position' | 'events' | undefined
  /** Whether an older writer is fenced off, and a writer sees that its tail is not what it left. Default: true. */
  readonly fences?: boolean | undefined
}

/** A position of the source, and how many events there were with it: the mark. */
interface Position {
  readonly cursor: Cursor
  readonly length: number
}

interface Route {
  epoch: number
  readonly positions: Position[]
}

/** Makes an effectively-once destination for one route. */
export function memoryDestination({
  keeps = 'position',
  fences = true,
}: MemoryDestinationOptions = {}): MemoryDestination {
  const events: Event[] = []
  const routes = new Map<string, Route>()
  const sourceId = (event: Event | undefined): Cursor => (event?.headers[wireNames.sourceId] ?? '') as Cursor
  /** How many events there are, and the last of them: one that was refilled may be another. */
  const markAt = (length: number): string => `${length}/${sourceId(events[length - 1])}`

  return {
    events,
    wipe: () => {
      events.length = 0
      for (const own of routes.values()) {
        own.positions.length = 0
        own.epoch++
      }
    },
    sink: () => ({
      name: 'memory',
      open: async ({ route, source, saved, signal }) => {
        signal?.throwIfAborted()
        const own = routes.get(route) ?? { epoch: 0, positions: [] }
        routes.set(route, own)
        const epoch = ++own.epoch
        const checkpoint = saved && { cursor: saved.cursor, length: Number.parseInt(saved.mark, 10) }
        const lost = checkpoint !== undefined && saved?.mark !== markAt(checkpoint.length)
        while ((own.positions.at(-1)?.length ?? 0) > events.length) own.positions.pop()
        const known = (keeps === 'position' ? own.positions.at(-1) : undefined) ?? (lost ? undefined : checkpoint)
        const start = known ?? { cursor: sourceId(events.at(-1)), length: events.length }
        // What stands beyond the known position is not appended again.
        const skip = new Set(events.slice(start.length).map(sourceId))
        let expected = events.length
        let repair: string | undefined
        if (lost) repair = `events up to ${checkpoint.length} were lost: resuming after "${start.cursor}"`
        else if (known === undefined && events.length > 0) repair = `no checkpoint: resuming after "${start.cursor}"`
        return {
          resumeFrom: start.cursor,
          ...(repair === undefined ? {} : { repair }),
          append: async (batch, next) => {
            const encoded = batch
              .filter(({ id }) => !skip.delete(id))
              .map((event): Event => {
                const { isNull, ...fields } = decodeFields(encodeFields(event, source)) as NonNullable<
                  ReturnType<typeof decodeFields>
                >
                return { ...fields, id: '', metadata: isNull ? null : event.metadata }
              })
            await Promise.resolve()
            if (fences && own.epoch !== epoch) throw new FencedError(`another writer has taken over the route ${route}`)
            if (fences && events.length !== expected)
              throw new ReflexError('SINK_TAIL_CHANGED', `there are ${events.length} events instead of ${expected}`)
            for (const event of encoded) events.push({ ...event, id: String(events.length + 1) })
            expected = events.length
            // What is still to be skipped stands beyond the mark, so that another writer skips it as well.
            const length = expected - skip.size
            own.positions.push({ cursor: next, length })
            return markAt(length)
          },
          [Symbol.asyncDispose]: async () => {},
        }
      },
    }),
  }
}
