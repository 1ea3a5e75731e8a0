import type { bridge } from '../../src/bridge/bridge.ts'
import { formatCheckpoint, parseCheckpoint } from '../../src/bridge/checkpoint.ts'
import {
  type Batch,
  type Cursor,
  type CursorStore,
  codeOf,
  disposeStack,
  type Event,
  memoryCursors,
  openStream,
  RunError,
  type RunStage,
  type Sink,
  savedCursor,
  systemClock,
  untilAborted,
  wireNames,
} from '../../src/core/index.ts'
import type { BridgeSubject } from '../../src/testing/bridge/bridge-subject.ts'
import { simulatedRoute } from '../../src/testing/bridge/simulated-route.ts'
import { type SimulatedDestination, simulatedDestination } from '../../src/testing/simulation/simulated-destination.ts'
import type { ZooCase } from './zoo-case.ts'

interface BridgeCase extends ZooCase<'bridge'> {
  create(): BridgeSubject
}

type Bridge = typeof bridge

/** What is easily done wrong when a log is forwarded. */
const flaws = {
  'saves before it appends': 'the at-most-once order of every quick relay',
  'resumes from its own checkpoint, whatever the destination says': undefined,
  'goes on after an append that failed':
    'nats-kafka: a publish error is logged, and the next success commits a later offset',
  'goes on after a save that failed': undefined,
  'starts from the head again when the destination has lost everything': undefined,
  'saves the position of the last event instead of that of the batch': undefined,
  'does not save where there was no event': 'nats-server discussions of idle consumers; Debezium needs a heartbeat',
  'leaves the checkpoint behind until the next event': undefined,
  'gives up between append and save when it is aborted': undefined,
  'leaves the writer open when the source cannot be opened': undefined,
  'saves the position of a batch that failed, and ends':
    'Debezium Server, Redis: any error reply but OOM is committed as delivered; Maxwell: ignore_producer_error is true',
  'appends again what failed': 'zendesk/maxwell, Redis producer: tries twice',
  'takes an event that is too large as sent': 'Maxwell, NATS producer: dropped with a log, the position advances',
  'saves whatever is stored': 'no compare-and-set: eventferry keeps its position in memory and writes it',
  'saves the position before the first event of the batch': undefined,
  'appends the events of a batch at once': 'Debezium Server, NATS: the whole batch is published concurrently',
  'does not tell of a repair': undefined,
  'leaves a listener on the signal': undefined,
  'leaves a timer behind': undefined,
  'fails with the bare error': undefined,
  'says that an append failed in stage commit': undefined,
  'resolves when it failed': 'DBZ-3570: exit code 0 on a crash',
  'never asks while it waits': 'debezium-server PR #314: the Redis sink stalls for ever',
  'does not heed the abort while it waits': undefined,
  'finishes its batch event by event after the abort': undefined,
  'sorts a batch by key': 'open-outbox/relay: no strict order; RPCN max_in_flight 64',
  'drops an event without a payload': 'Debezium Server, NATS: null values and tombstones are dropped',
  'makes an empty payload of none': undefined,
  'keeps the first value of a header': 'nats-kafka: only the first header value',
  'cuts a timestamp to milliseconds': undefined,
  'starts from the earliest when its cursor was trimmed': 'Kafka: auto.offset.reset jumps silently unless it is none',
  'saves the mark of the append before': undefined,
  'forgets where it started': undefined,
} as const
type Flaw = keyof typeof flaws

/** A bridge in its shortest form, with a flaw, or with none. */
function miniBridge(flaw?: Flaw): Bridge {
  const is = (...each: readonly Flaw[]): boolean => flaw !== undefined && each.includes(flaw)
  return async ({ name, source, sink, checkpoints }, options = {}) => {
    const { toHead = false, fromHead = false, signal, clock = systemClock, observer = {} } = options
    const opened = disposeStack()
    let stage: RunStage = 'cursor'
    let eventId: string | undefined
    let cursor = ''
    let failure: RunError | undefined
    if (is('leaves a listener on the signal')) signal?.addEventListener('abort', () => {})
    const pump = async (): Promise<void> => {
      signal?.throwIfAborted()
      let stored = await untilAborted(checkpoints.get(name), signal)
      const saved = parseCheckpoint(name, stored)
      cursor = saved?.cursor ?? ''
      stage = 'open'
      const opening = sink.open({ route: name, source: source.name, saved, signal })
      const writer = await untilAborted(opening, signal).catch((error: unknown) => {
        opening.then((late) => late[Symbol.asyncDispose]()).catch(() => {})
        throw error
      })
      if (!is('leaves the writer open when the source cannot be opened')) opened.use(writer)
      let start = saved?.start ?? ''
      cursor = writer.resumeFrom === '' ? start : writer.resumeFrom
      if (is('resumes from its own checkpoint, whatever the destination says')) cursor = saved?.cursor ?? ''
      if (writer.repair !== undefined && !is('does not tell of a repair')) observer.repaired?.(writer.repair)
      const again = is('starts from the head again when the destination has lost everything')
      if (again) cursor = writer.resumeFrom
      const isNew = saved === undefined && writer.repair === undefined
      const atHead = fromHead && cursor === '' && (isNew || again)
      const open = (after: Cursor) => openStream(source.stream, after, { signal, toHead, fromHead: atHead })
      const stream = opened.use(
        await open(cursor).catch((error: unknown) => {
          if (is('starts from the earliest when its cursor was trimmed') && codeOf(error) === 'CURSOR_TRIMMED')
            return open('')
          throw error
        }),
      )
      if (is('leaves the writer open when the source cannot be opened')) opened.use(writer)

      let lastMark = saved?.mark ?? ''
      const save = async (position: Cursor, mark: string): Promise<void> => {
        stage = 'commit'
        eventId = undefined
        if (atHead && start === '' && !is('forgets where it started')) start = position
        const kept = is('saves the mark of the append before') ? lastMark : mark
        lastMark = mark
        const checkpoint = formatCheckpoint({ cursor: position, mark: kept, start })
        const expected = is('saves whatever is stored') ? await checkpoints.get(name) : stored
        const saving = checkpoints.set(name, checkpoint, expected)
        await (is('goes on after a save that failed') ? saving.catch(() => {}) : saving)
        stored = checkpoint
        cursor = position
      }
      const appendOnce = async (events: readonly Event[], next: Cursor): Promise<string> => {
        if (is('finishes its batch event by event after the abort')) {
          for (const event of events.slice(0, -1)) await writer.append([event], event.id)
          return writer.append(events.slice(-1), next)
        }
        if (!is('appends the events of a batch at once') || events.length < 2) return writer.append(events, next)
        return (await Promise.all(events.map((event) => writer.append([event], event.id)))).at(-1) as string
      }
      const append = async (events: readonly Event[], next: Cursor): Promise<string> => {
        stage = 'handle'
        eventId = events[0]?.id
        try {
          return await appendOnce(events, next)
        } catch (error) {
          if (is('says that an append failed in stage commit')) stage = 'commit'
          if (is('appends again what failed')) return appendOnce(events, next)
          if (is('saves the position of a batch that failed, and ends')) await save(next, lastMark)
          const large = codeOf(error) === 'EVENT_TOO_LARGE' || codeOf(error) === 'EVENT_UNENCODABLE'
          if (is('takes an event that is too large as sent') && large) return appendOnce([], next)
          if (is('goes on after an append that failed')) return '0/'
          throw error
        }
      }
      if (cursor !== (saved?.cursor ?? '') && !is('leaves the checkpoint behind until the next event'))
        await save(cursor, await append([], cursor))

      const iterator = stream[Symbol.asyncIterator]()
      for (;;) {
        stage = 'receive'
        eventId = undefined
        const reading = iterator.next()
        const result = await waitFor(reading, async () => {
          stage = 'handle'
          if (!is('never asks while it waits')) await writer.append([], cursor)
          stage = 'receive'
        })
        if (result.done) break
        signal?.throwIfAborted()
        await forward(transformed(result.value, flaw), stream.incarnation)
      }

      async function waitFor<T>(reading: Promise<T>, whileIdle: () => Promise<void>): Promise<T> {
        const settled = new AbortController()
        const done = reading
          .finally(() => is('leaves a timer behind') || settled.abort(signal))
          .then(
            () => true,
            () => true,
          )
        while (
          !(await Promise.race([
            done,
            clock
              .sleep(1500, settled.signal)
              .then(() => false)
              .catch(() => true),
          ]))
        )
          await whileIdle()
        return reading
      }
      async function forward({ events, cursor: after }: Batch, incarnation: string | undefined): Promise<void> {
        let position: Cursor = after
        if (is('saves the position of the last event instead of that of the batch'))
          position = events.at(-1)?.id ?? cursor
        const next = savedCursor(position, incarnation)
        if (next === cursor && events.length === 0) return
        if (is('saves before it appends')) await save(next, '0/')
        const before = cursor
        const mark = await append(events, next)
        if (is('gives up between append and save when it is aborted')) signal?.throwIfAborted()
        if (is('saves before it appends')) return
        if (is('does not save where there was no event') && events.length === 0) return
        await save(is('saves the position before the first event of the batch') ? before : next, mark)
      }
    }
    const hang = is('does not heed the abort while it waits')
    const note = (error: unknown): void => {
      if (!signal?.aborted) failure ??= new RunError(stage, { consumer: name, eventId, cause: error })
      if (is('fails with the bare error') && !signal?.aborted) failure = error as RunError
    }
    await pump().catch(note)
    await Promise.resolve(opened[Symbol.asyncDispose]()).catch(note)
    if (hang && signal?.aborted && !toHead) await new Promise(() => {})
    if (failure !== undefined && !is('resolves when it failed')) throw failure
    return { reason: signal?.aborted ? 'aborted' : 'head', cursor }
  }
}

/** What a flaw makes of what is forwarded. */
function transformed(batch: Batch, flaw: Flaw | undefined): Batch {
  const each = (change: (event: Event) => Event): Batch => ({ ...batch, events: batch.events.map(change) })
  switch (flaw) {
    case 'sorts a batch by key':
      return { ...batch, events: batch.events.toSorted((a, b) => (a.foreignId < b.foreignId ? -1 : 1)) }
    case 'drops an event without a payload':
      return { ...batch, events: batch.events.filter(({ metadata }) => metadata !== null) }
    case 'makes an empty payload of none':
      return each((event) => ({ ...event, metadata: event.metadata ?? new Uint8Array() }))
    case 'cuts a timestamp to milliseconds':
      return each((event) => ({ ...event, timestamp: Math.floor(event.timestamp) }))
    case 'keeps the first value of a header':
      return each((event) => ({
        ...event,
        headers: Object.fromEntries(
          Object.entries(event.headers).map(([name, value]) => [name, typeof value === 'string' ? value : value[0]]),
        ) as Event['headers'],
      }))
    default:
      return batch
  }
}

/** A destination with writers that are changed. */
function changed(
  change: (inner: Sink, destination: SimulatedDestination) => Partial<Sink>,
  keeps: 'position' | 'events' = 'position',
): SimulatedDestination {
  const destination = simulatedDestination({ keeps })
  return {
    ...destination,
    events: destination.events,
    sink: () => {
      const inner = destination.sink()
      return { ...inner, ...change(inner, destination) }
    },
  }
}

/** A destination whose appends are changed. */
function appending(
  change: (
    append: Awaited<ReturnType<Sink['open']>>['append'],
    destination: SimulatedDestination,
  ) => Awaited<ReturnType<Sink['open']>>['append'],
  keeps?: 'position' | 'events',
): SimulatedDestination {
  return changed(
    (inner, destination) => ({
      open: async (options) => {
        const writer = await inner.open(options)
        return { ...writer, append: change(writer.append, destination) }
      },
    }),
    keeps,
  )
}

/** A log that keeps nothing but events; `accepts` says which of a batch are appended, `resume` from where. */
function plainDestination({
  accepts = () => true,
  resume = ({ saved }) => saved?.cursor ?? '',
  fences = false,
}: {
  accepts?: (id: string, there: readonly string[]) => boolean
  fences?: boolean
  resume?: (o: { saved: Parameters<Sink['open']>[0]['saved']; there: readonly string[] }) => Cursor
} = {}): SimulatedDestination {
  const log = simulatedDestination({ keeps: 'events', fences })
  const { events } = log
  const there = (): string[] => events.map(({ headers }) => headers[wireNames.sourceId] as string)
  return {
    ...log,
    events,
    sink: () => ({
      name: 'plain',
      open: async (options) => {
        const { saved } = options
        const held = there()
        const resumeFrom = resume({ saved, there: held })
        const lost = saved !== undefined && Number.parseInt(saved.mark, 10) > held.length
        // Opened as if it had never been: so nothing is skipped but what `accepts` says.
        const writer = await log
          .sink()
          .open({ ...options, saved: { cursor: '', mark: `${held.length}/${held.at(-1) ?? ''}` } })
        return {
          ...writer,
          resumeFrom,
          ...(lost && { repair: `${saved.mark} is lost` }),
          append: (batch, cursor) =>
            writer.append(
              batch.filter(({ id }) => accepts(id, there())),
              cursor,
            ),
        }
      },
    }),
  }
}

/** A store whose `set` is changed. */
function storing(change: (store: CursorStore) => Partial<CursorStore>): BridgeSubject {
  const store = memoryCursors()
  return { ...simulatedRoute(), checkpoints: { ...store, ...change(store) } }
}

const onto = (destination: () => SimulatedDestination) => (): BridgeSubject =>
  simulatedRoute({ destination: destination() })
const lastIdOf = (there: readonly string[]): Cursor => there.at(-1) ?? ''

/** Routes that are broken somewhere else than in the bridge. */
const brokenParts: readonly Omit<BridgeCase, 'of'>[] = [
  {
    name: 'a sink does not fence an older writer',
    create: () => simulatedRoute({ fences: false }),
    cites: 'nats-kafka #88: three bridges make three copies',
  },
  {
    name: 'a sink appends whatever it is given',
    create: onto(() => plainDestination()),
    cites: 'Debezium Server and open-outbox/relay, Redis: XADD *',
  },
  {
    name: 'a sink compares ids as text',
    create: onto(() => plainDestination({ accepts: (id, there) => there.every((each) => each < id) })),
  },
  {
    name: 'a sink remembers the last three ids',
    create: onto(() => plainDestination({ accepts: (id, there) => !there.slice(-3).includes(id) })),
    cites: 'nats-server #3272: after the window of Nats-Msg-Id a duplicate is stored',
  },
  {
    name: 'a sink skips by the newest id, and never looks whether its tail is there',
    create: onto(() => plainDestination({ accepts: (id, there) => Number(id) > Number(lastIdOf(there) || 0) })),
    cites: 'Eventuate, DuplicatePublishingDetector: reads the tail, but only skips',
  },
  {
    name: 'a sink resumes at its tail, and believes that the checkpoint is not ahead of it',
    create: onto(() =>
      plainDestination({
        accepts: (id, there) => !there.includes(id),
        resume: ({ saved, there }) =>
          Number.parseInt(saved?.cursor ?? '0', 10) > Number(lastIdOf(there) || 0)
            ? (saved?.cursor ?? '')
            : lastIdOf(there),
      }),
    ),
  },
  {
    name: 'a sink refills from the earliest when its tail is lost',
    create: onto(() =>
      changed((inner) => ({
        open: async (options) => {
          const writer = await inner.open(options)
          return writer.repair === undefined ? writer : { ...writer, resumeFrom: '' }
        },
      })),
    ),
  },
  {
    name: 'a sink tells of no repair',
    create: onto(() =>
      changed((inner) => ({
        open: async (options) => {
          const { repair: _, ...writer } = await inner.open(options)
          return writer
        },
      })),
    ),
  },
  {
    name: 'a sink takes a refusal for an answer',
    create: onto(() => appending((append) => (events, cursor) => append(events, cursor).catch(() => '0/'))),
    cites: 'Debezium Server, Redis: READONLY and NOPERM are committed',
  },
  {
    name: 'a sink leaves out an event that is too large',
    create: onto(() =>
      appending(
        (append) => (events, cursor) =>
          append(
            events.filter(({ metadata, foreignId }) => (metadata?.length ?? 0) < 200_000 && foreignId.isWellFormed()),
            cursor,
          ),
      ),
    ),
    cites: 'Maxwell, NATS producer',
  },
  {
    name: 'a sink appends a batch event by event, and leaves what it has done when one fails',
    create: onto(() =>
      appending((append) => async (events, cursor) => {
        for (const event of events.slice(0, -1)) await append([event], cursor)
        return append(events.slice(-1), cursor)
      }),
    ),
    cites: 'rpoplpush relays: the position is written with the first event of a batch',
  },
  {
    name: 'a sink loses the id that the event had in the source',
    create: onto(() =>
      appending((append, { events }) => async (batch, cursor) => {
        const before = events.length
        const mark = await append(batch, cursor)
        for (let i = before; i < events.length; i++) {
          const { [wireNames.sourceId]: _, ...headers } = events[i]?.headers ?? {}
          events[i] = { ...(events[i] as Event), headers }
        }
        return mark
      }),
    ),
  },
  {
    name: 'a sink appends the newest event of a key only',
    create: onto(() =>
      appending(
        (append) => (events, cursor) =>
          append(
            events.filter((event, i) => events.findLastIndex(({ foreignId }) => foreignId === event.foreignId) === i),
            cursor,
          ),
      ),
    ),
  },
  {
    name: 'a sink puts what failed behind what followed',
    create: onto(() =>
      appending((append) => {
        const failed: Event[] = []
        return async (events, cursor) => {
          if (failed.length === 0 && events.length > 2) failed.push(events[0] as Event)
          const mark = await append(
            events.filter((event) => !failed.includes(event)),
            cursor,
          )
          return failed.length === 0 ? mark : append(failed.splice(0), cursor)
        }
      }),
    ),
    cites: 'Debezium Server, Redis: a retry after OOM appends the failed records after later ones',
  },
  {
    name: 'a store of checkpoints does not compare',
    create: () => storing((store) => ({ set: (consumer, cursor) => store.reset(consumer, cursor) })),
  },
  {
    name: 'a store of checkpoints keeps every other one',
    create: () => {
      let count = 0
      return storing((store) => ({
        set: async (consumer, cursor, expected) => {
          if (count++ % 2 === 0) await store.set(consumer, cursor, expected)
        },
      }))
    },
  },
  {
    name: 'a source forgets the events of a full batch but the first ten',
    create: () => {
      const subject = simulatedRoute()
      const { source } = subject
      return {
        ...subject,
        source: {
          ...source,
          stream: async (after, options) => {
            const inner = await source.stream(after, options)
            return {
              ...inner,
              [Symbol.asyncIterator]: () => {
                const iterator = inner[Symbol.asyncIterator]()
                return {
                  next: async () => {
                    const result = await iterator.next()
                    return result.done
                      ? result
                      : { done: false, value: { ...result.value, events: result.value.events.slice(0, 10) } }
                  },
                }
              },
            }
          },
        },
      }
    },
  },
]

/** Routes each of which is broken in one way. */
export const bridgeCases: readonly BridgeCase[] = [
  ...Object.entries(flaws).map(
    ([flaw, cites]): BridgeCase => ({
      name: `a bridge ${flaw}`,
      of: 'bridge',
      create: () => simulatedRoute({ bridge: miniBridge(flaw as Flaw) }),
      ...(cites !== undefined && { cites }),
    }),
  ),
  ...brokenParts.map((each): BridgeCase => ({ ...each, of: 'bridge' })),
]

/** A destination without dedupe that knows its tail: what it promises is at-least-once. */
function atLeastOnce(): BridgeSubject {
  const destination = plainDestination({
    fences: true,
    resume: ({ saved, there }) => {
      const isThere = saved !== undefined && Number.parseInt(saved.mark, 10) <= there.length
      return isThere ? saved.cursor : lastIdOf(there)
    },
  })
  return { ...simulatedRoute({ destination }), delivery: 'at-least-once' }
}

/** Routes that are right: no property may say otherwise. */
export const bridgeCorrect: readonly BridgeCase[] = [
  { name: 'this bridge, onto what keeps its position', of: 'bridge', create: () => simulatedRoute() },
  { name: 'this bridge, onto what keeps events only', of: 'bridge', create: () => simulatedRoute({ keeps: 'events' }) },
  {
    name: 'a short bridge, onto what keeps its position',
    of: 'bridge',
    create: () => simulatedRoute({ bridge: miniBridge() }),
  },
  {
    name: 'a short bridge, onto what keeps events only',
    of: 'bridge',
    create: () => simulatedRoute({ bridge: miniBridge(), keeps: 'events' }),
  },
  { name: 'this bridge, at least once', of: 'bridge', create: atLeastOnce },
  {
    name: 'this bridge, from a source whose writers are not told the ids',
    of: 'bridge',
    create: () => {
      const subject = simulatedRoute()
      return { ...subject, append: (events) => subject.append(events).then(() => undefined) }
    },
  },
]
