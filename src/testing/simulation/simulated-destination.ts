import { FencedError, ReflexError } from '../../core/errors.ts'
import type { Cursor, Event } from '../../core/event.ts'
import type { Sink } from '../../core/sink.ts'
import { decodeFields, encodeFields, wireNames } from '../../core/wire.ts'

/** A destination in memory: what a sink of a real broker does, in its shortest form. */
export interface SimulatedDestination {
  /** The events in order, with the headers of the wire. Taking some off the end is how the destination loses its tail. */
  readonly events: Event[]
  /** Loses everything, the routes' positions and their fences as well. */
  wipe(): void
  /** Answers every append with an error, as a read-only replica does, until what is returned is called. */
  refuse(): () => void
  /** A writer of this destination; each call stands for a process. */
  sink(): Sink
}

/** What kind of a destination it is. */
export interface SimulatedDestinationOptions {
  /**
   * `position`: the route's position is kept with the events, and both are lost together, as in Redis and Kafka. `events`: there
   * is nothing but the events, so that the checkpoint counts and the tail is searched, as in JetStream. Default: `position`.
   */
  readonly keeps?: 'position' | 'events' | undefined
  /** Whether an older writer is fenced off, and a writer sees that its tail is not what it left. Default: true. */
  readonly fences?: boolean | undefined
  /** What an event may hold. In bytes of its payload; default 1 MiB. */
  readonly maxBytes?: number | undefined
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

/**
 * Makes an effectively-once destination for one route.
 *
 * @example
 * const destination = simulatedDestination({ keeps: 'events' })
 * await bridge({ name: 'orders', source, sink: destination.sink(), checkpoints }, { toHead: true })
 */
export function simulatedDestination({
  keeps = 'position',
  fences = true,
  maxBytes = 1024 * 1024,
}: SimulatedDestinationOptions = {}): SimulatedDestination {
  const events: Event[] = []
  const routes = new Map<string, Route>()
  let refusals = 0
  const sourceId = (event: Event | undefined): Cursor => (event?.headers[wireNames.sourceId] ?? '') as Cursor
  /** How many events there are, and the last of them: one that was refilled may be another. */
  const markAt = (length: number): string => `${length}/${sourceId(events[length - 1])}`

  const encode = (event: Event, source: string): Event => {
    const { metadata } = event
    if (metadata !== null && metadata.length > maxBytes) {
      throw new ReflexError(
        'EVENT_TOO_LARGE',
        `event ${event.id}: its payload of ${metadata.length} bytes is more than the ${maxBytes} that are accepted`,
        { kind: 'oversize', eventId: event.id },
      )
    }
    const { isNull, ...fields } = decodeFields(encodeFields(event, source)) as NonNullable<
      ReturnType<typeof decodeFields>
    >
    return { ...fields, id: '', metadata: isNull ? null : metadata }
  }

  return {
    events,
    wipe: () => {
      events.length = 0
      for (const own of routes.values()) {
        own.positions.length = 0
        own.epoch++
      }
    },
    refuse: () => {
      refusals++
      return () => {
        refusals--
      }
    },
    sink: () => ({
      name: 'simulated',
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
            const encoded: Event[] = []
            for (const event of batch) if (!skip.delete(event.id)) encoded.push(encode(event, source))
            await Promise.resolve()
            if (refusals > 0)
              throw new ReflexError('DESTINATION_READ_ONLY', 'the destination accepts nothing: it is read-only', {
                kind: 'read-only',
              })
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
