import { setImmediate as turn } from 'node:timers/promises'
import { untilAborted } from '../../src/core/abort.ts'
import { type Event, FencedError, ReflexError, type Sink, wireNames } from '../../src/core/index.ts'
import { decodeFields, encodeFields } from '../../src/core/wire.ts'
import { simulatedDestination } from '../../src/testing/simulation/simulated-destination.ts'
import type { SinkSubject } from '../../src/testing/sink/sink-subject.ts'

/** A destination that is right, or wrong in one way. */
export interface SinkCase {
  readonly name: string
  readonly of: 'sink'
  create(): SinkSubject
  /** Where it was seen in the world. */
  readonly cites?: string
}

/** What is wrong, and where it was seen in the world. */
const flaws = {
  'has no fence': 'nats-kafka #88: three bridges, three copies of everything',
  'looks whether it is fenced, and then appends': 'leader election without a fencing token, as in Eventuate CDC',
  'fences only once it appends nothing new': undefined,
  'reads its tail before it fences':
    'Kafka: an open transaction of the old writer commits behind a tail that was read before initTransactions',
  'appends again what was not saved':
    'Debezium Server and nats-kafka: a restart repeats everything since the last offset',
  'knows duplicates only within a window': 'nats-server #3272: Nats-Msg-Id after the duplicate window',
  'resumes after the newest id over all partitions':
    "Eventuate's DuplicatePublishingDetector reads tails and skips what is at or below them",
  'skips what is not above the top entry':
    'a Redis script that skips explicit ids "already there" once somebody else has written a higher one',
  'resumes one event too far': 'moleculer channels: Number(offset) + 1',
  'resumes one event too early, and appends it again': 'off by one the other way: resuming is exclusive',
  'resumes always from the start': undefined,
  'resumes at the checkpoint, whatever the destination holds': undefined,
  'forgets the cursor of an empty batch':
    'connectors whose offsets move with records alone: heartbeats exist because of it',
  'writes a record for an empty batch': undefined,
  'appends what comes before an event that it cannot encode':
    'pipelined XADDs, and batches that are published one by one',
  'replaces what it cannot encode': 'TextEncoder and Buffer.from write U+FFFD for a lone surrogate',
  'drops an event that is too large': "Maxwell's NATS producer logs it and advances the position",
  'appends a batch without the event that is too large, and rejects':
    'JetStream: the others of a batch that is published concurrently are stored',
  'rejects an event that is too large with an error without code': undefined,
  'takes an error for success': 'Debezium Server, Redis: every error reply but OOM is committed as delivered',
  'appends half of a batch before an error': 'Debezium Server, Redis: replies [id, WRONGTYPE, id]',
  'moves its position before it appends': 'zendesk/maxwell #614: the position advances although the producer failed',
  'appends failed events after later ones':
    'Debezium Server, Redis: those refused for OOM are sent again behind the rest',
  'keeps the source of an earlier bridge': undefined,
  'has no source id': 'XADD * without a header: nothing tells a duplicate',
  'turns null into an empty payload': 'NATS and Redis have no null: tombstones are lost',
  'drops events without a payload': 'Debezium Server, NATS: null values are dropped',
  'cuts payloads after 64 KiB': 'a TEXT or BLOB column of MySQL without strict mode',
  'reads payloads as text': 'Buffer.toString() of what is not UTF-8',
  'keeps the first value of a header': 'nats-kafka: only the first header value',
  'trims header values': 'NATS trims the values of headers',
  'keeps milliseconds': 'record timestamps of Kafka; Date in mysql2',
  'reads types without a sign': undefined,
  'does not notice a lost tail':
    'default redis.conf: after kill -9 the acknowledged entries are gone, and the next XADD succeeds',
  'refills a lost tail without a word': undefined,
  'refills a lost tail with the last event missing': undefined,
  'goes on where it was after everything was lost':
    'Redis without persistence, JetStream with memory storage (the default of Debezium Server)',
  'appends behind a tail that was lost under it': 'default redis.conf again, with a client that reconnects',
  'is repaired at every start': undefined,
  'counts what others have appended as its own': 'a tail that is read as length - 1, on a shared topic',
  'cannot be closed twice': 'node-redis and kafkajs throw for a client that is closed',
  'hangs on the second close': undefined,
  'does not heed the signal': 'kafkajs: connect() has no signal',
  'rejects an aborted open with an error of its own': undefined,
  'takes the route over although the open was aborted': undefined,
  'leaves the connection of an aborted open': 'vlasky/zongji and others: stop() before the connection is there',
  'waits for ever for an answer': 'nats pings every two minutes; mysql2 and node-redis have no timeout of a command',
  'sends again what was not answered': 'kafkajs without idempotent, retries of ioredis: maxRetriesPerRequest is 20',
  'sends again over a new connection what was cut off':
    'ioredis: autoResendUnfulfilledCommands is on, and a resent XADD or script is done twice',
  'loses what was not synchronised':
    'NATS 2.12.1 synchronises every two minutes: Jepsen saw 14 % of the acknowledged writes lost',
} as const satisfies Readonly<Record<string, string | undefined>>

type Flaw = keyof typeof flaws

/** How far a route has got; kept with its events, and lost with them. */
interface Position {
  readonly cursor: string
  /** How many events of the route there are. */
  readonly count: number
  /** How many entries there are, whosever. */
  readonly length: number
  /** Source ids that stand there, and that the source has yet to come to. */
  readonly skip: readonly string[]
}

interface Options {
  readonly flaw?: Flaw | undefined
  readonly delivery?: 'at-least-once' | undefined
  /** Events of different ids go into several, one request each. */
  readonly partitions?: number | undefined
}

const LARGEST = 200_000
const START: Position = { cursor: '', count: 0, length: 0, skip: [] }

/** A server with one destination: what brokers do, in its shortest form. */
function subject({ flaw, delivery, partitions = 1 }: Options = {}): SinkSubject {
  const once = delivery === undefined
  const is = (...these: readonly Flaw[]): boolean => flaw !== undefined && these.includes(flaw)
  let entries: Event[] = []
  let route = { epoch: 0, positions: [] as Position[] }
  let generation = 0
  let sockets = 0
  let frozen: (() => void)[] | undefined
  let refusing = false
  let losingReplies = false

  const sourceId = (event: Event | undefined): string => (event?.headers[wireNames.sourceId] ?? '') as string
  const partitionOf = ({ foreignId }: Event): number => (foreignId.codePointAt(foreignId.length - 1) ?? 0) % partitions
  const newest = (): Position => route.positions.at(-1) ?? START

  const sink = (): Sink => ({
    name: 'zoo',
    open: async ({ source, saved, signal }) => {
      const own = ({ headers }: Event): boolean => headers[wireNames.source] === source
      if (!is('does not heed the signal', 'takes the route over although the open was aborted'))
        if (signal?.aborted)
          throw is('rejects an aborted open with an error of its own') ? new Error('aborted') : signal.reason
      const heeded = is('does not heed the signal') ? undefined : signal
      const connected = generation
      let isOpen = true
      sockets++
      const close = (): void => {
        if (isOpen) sockets--
        isOpen = false
      }

      async function ask<T>(request: () => T): Promise<T> {
        if (connected !== generation) throw new ReflexError('CONNECTION', 'the connection is lost')
        if (frozen !== undefined) {
          frozen.push(request)
          if (is('waits for ever for an answer')) await new Promise(() => {})
          for (let turns = 0; turns < 5; turns++) await turn()
          if (is('sends again what was not answered')) frozen?.push(request)
          throw new ReflexError('TIMEOUT', 'the server has not answered')
        }
        await turn()
        const answer = request()
        await turn()
        if (losingReplies && is('sends again what was not answered')) request()
        if (losingReplies) throw new ReflexError('TIMEOUT', 'the server has not answered')
        if (connected === generation) return answer
        if (is('sends again over a new connection what was cut off')) return request()
        throw new ReflexError('CONNECTION', 'the connection is lost')
      }
      try {
        await turn()
        if (!is('does not heed the signal')) {
          if (is('rejects an aborted open with an error of its own') && signal?.aborted) throw new Error('aborted')
          if (!is('takes the route over although the open was aborted')) signal?.throwIfAborted()
        }
        const early = is('reads its tail before it fences')
          ? await untilAborted(
              ask(() => ({ ...look(), expected: entries.length })),
              heeded,
            )
          : undefined
        const { epoch, ...now } = await untilAborted(
          ask(() => ({ epoch: ++route.epoch, ...look(), expected: entries.length })),
          heeded,
        )
        heeded?.throwIfAborted()
        return writer(epoch, early ?? now)
      } catch (error) {
        if (!is('leaves the connection of an aborted open')) close()
        throw is('rejects an aborted open with an error of its own') && signal?.aborted ? new Error('aborted') : error
      }

      function look(): { position: Position; repair: string | undefined } {
        let position = newest()
        let repair: string | undefined
        const savedCount = Number(saved?.mark ?? 0)
        if (!once) {
          // There is nothing but the events.
          const lost = entries.length < savedCount
          const cursor = lost ? sourceId(entries.findLast(own)) : (saved?.cursor ?? '')
          return {
            position: { ...START, cursor, length: entries.length },
            repair: lost ? 'a lost tail is refilled' : undefined,
          }
        }
        const beyond = entries.slice(position.length).filter(own).map(sourceId)
        const skip = [...position.skip, ...beyond].filter((id) => entries.some((entry) => sourceId(entry) === id))
        position = { ...position, length: entries.length, skip: [...new Set(skip)] }
        if (savedCount > position.count) repair = `${savedCount - position.count} events were lost, and are refilled`
        switch (flaw) {
          case 'appends again what was not saved':
            position = { ...position, cursor: saved?.cursor ?? '', skip: [] }
            break
          case 'knows duplicates only within a window':
            position = { ...position, cursor: saved?.cursor ?? '', skip: entries.slice(-2).map(sourceId) }
            break
          case 'resumes after the newest id over all partitions': {
            const ids = entries.filter(own).map((entry) => Number(sourceId(entry)))
            position = { ...position, cursor: ids.length === 0 ? '' : String(Math.max(...ids)), skip: [] }
            break
          }
          case 'resumes one event too far':
            if (position.cursor !== '' && saved === undefined)
              position = { ...position, cursor: String(Number(position.cursor) + 1) }
            break
          case 'resumes one event too early, and appends it again':
            if (Number(position.cursor) > 1) position = { ...position, cursor: String(Number(position.cursor) - 1) }
            break
          case 'resumes always from the start':
            position = { ...position, cursor: '', skip: entries.filter(own).map(sourceId) }
            break
          case 'resumes at the checkpoint, whatever the destination holds':
            position = {
              ...position,
              cursor: saved?.cursor ?? position.cursor,
              skip: entries.filter(own).map(sourceId),
            }
            break
          case 'does not notice a lost tail':
            if (savedCount > position.count && entries.length > 0)
              position = { ...position, cursor: saved?.cursor ?? '', count: savedCount }
            repair = undefined
            break
          case 'refills a lost tail without a word':
            repair = undefined
            break
          case 'refills a lost tail with the last event missing':
            if (repair !== undefined && position.cursor !== '')
              position = { ...position, cursor: String(Number(position.cursor) + 1) }
            break
          case 'goes on where it was after everything was lost':
            if (entries.length === 0 && saved !== undefined)
              position = { ...position, cursor: saved.cursor, count: savedCount }
            break
          case 'is repaired at every start':
            repair ??= 'looked at the tail'
            break
          case 'counts what others have appended as its own':
            if (entries.length > position.count)
              position = {
                ...position,
                cursor: position.cursor && String(Number(position.cursor) + entries.length - position.count),
              }
            break
          case 'forgets the cursor of an empty batch': {
            position = { ...position, cursor: sourceId(entries.findLast(own)) }
            break
          }
        }
        return { position, repair }
      }

      function writer(epoch: number, { position, repair, expected }: ReturnType<typeof look> & { expected: number }) {
        let at = position
        let length = expected
        const skip = new Set(position.skip)
        let failure: unknown
        let closed = false
        const fenced = (): boolean => once && !is('has no fence') && route.epoch !== epoch
        const fence = (): void => {
          if (fenced()) throw new FencedError('another writer has taken over')
        }

        function encode(event: Event): Event {
          const { size, ...sent } = { ...event, size: event.metadata?.length ?? 0 }
          if (
            size > LARGEST &&
            !is('drops an event that is too large', 'appends a batch without the event that is too large, and rejects')
          ) {
            if (is('rejects an event that is too large with an error without code')) throw new Error('too large')
            throw new ReflexError('EVENT_TOO_LARGE', `${size} bytes`, { retriable: false })
          }
          if (is('replaces what it cannot encode')) Object.assign(sent, { foreignId: sent.foreignId.toWellFormed() })
          const { isNull, ...fields } = decodeFields(encodeFields(sent, source)) as NonNullable<
            ReturnType<typeof decodeFields>
          >
          const made = { ...fields, id: '', metadata: isNull ? null : event.metadata }
          const headers = { ...made.headers } as Record<string, string | readonly string[]>
          switch (flaw) {
            case 'keeps the source of an earlier bridge':
              return { ...made, headers: { ...headers, ...event.headers } }
            case 'has no source id':
              delete headers[wireNames.sourceId]
              return { ...made, headers }
            case 'turns null into an empty payload':
              return { ...made, metadata: made.metadata ?? new Uint8Array() }
            case 'cuts payloads after 64 KiB':
              return { ...made, metadata: made.metadata?.subarray(0, 65_535) ?? null }
            case 'reads payloads as text':
              return { ...made, metadata: made.metadata && Buffer.from(Buffer.from(made.metadata).toString()) }
            case 'keeps the first value of a header':
              for (const [name, value] of Object.entries(headers))
                if (typeof value !== 'string') headers[name] = value[0] as string
              return { ...made, headers }
            case 'trims header values':
              for (const [name, value] of Object.entries(headers))
                if (typeof value === 'string') headers[name] = value.trim()
              return { ...made, headers }
            case 'keeps milliseconds':
              return { ...made, timestamp: Math.floor(made.timestamp) }
            case 'reads types without a sign':
              return { ...made, type: made.type >>> 0 }
            default:
              return made
          }
        }
        /** One request: all or nothing. */
        function store(encoded: readonly Event[], next: Position | undefined): void {
          if (!is('looks whether it is fenced, and then appends', 'fences only once it appends nothing new')) fence()
          if (is('fences only once it appends nothing new') && encoded.length === 0) fence()
          if (once && entries.length < length && !is('appends behind a tail that was lost under it'))
            throw new ReflexError('SINK_TAIL_CHANGED', 'the tail is not as it was left')
          if (is('moves its position before it appends') && next !== undefined) route.positions.push(next)
          if (refusing && !is('takes an error for success')) {
            if (is('appends half of a batch before an error')) put(encoded.slice(0, Math.ceil(encoded.length / 2)))
            throw new ReflexError('NO_PERMISSION', 'appending is not permitted')
          }
          if (refusing) encoded = []
          put(encoded)
          length = entries.length
          if (next !== undefined) route.positions.push({ ...next, length })
        }
        function put(encoded: readonly Event[]): void {
          for (const event of encoded) entries.push({ ...event, id: String(entries.length + 1) })
        }

        async function append(events: readonly Event[], cursor: string): Promise<string> {
          let fresh = events.filter(({ id }) => !skip.delete(id))
          if (is('drops events without a payload')) fresh = fresh.filter(({ metadata }) => metadata !== null)
          if (is('drops an event that is too large'))
            fresh = fresh.filter(({ metadata }) => (metadata?.length ?? 0) <= LARGEST)
          if (is('skips what is not above the top entry')) {
            const top = Number(sourceId(entries.at(-1)))
            fresh = fresh.filter(({ id }) => Number(id) > top)
          }
          if (is('appends what comes before an event that it cannot encode')) {
            const bad = fresh.findIndex(({ foreignId }) => !foreignId.isWellFormed())
            if (bad > 0) await ask(() => store(fresh.slice(0, bad).map(encode), undefined))
          }
          if (is('appends a batch without the event that is too large, and rejects')) {
            const good = fresh.filter(({ metadata }) => (metadata?.length ?? 0) <= LARGEST)
            if (good.length < fresh.length) {
              await ask(() => store(good.map(encode), undefined))
              throw new ReflexError('EVENT_TOO_LARGE', 'one of them is too large')
            }
          }
          const encoded = fresh.map(encode)
          if (is('writes a record for an empty batch') && events.length === 0)
            encoded.push(encode({ id: cursor, type: 0, foreignId: '', timestamp: 0, metadata: null, headers: {} }))
          if (is('appends failed events after later ones') && encoded.length > 2) encoded.push(encoded.shift() as Event)
          const next = { cursor, count: at.count + events.length, length: 0, skip: [...skip] }
          if (is('looks whether it is fenced, and then appends')) await ask(fence)
          if (partitions > 1) {
            for (const part of Map.groupBy(encoded, partitionOf).values()) await ask(() => store(part, undefined))
            await ask(() => store([], next))
          } else await ask(() => store(encoded, next))
          at = next
          return once ? String(next.count) : String(length)
        }
        return {
          resumeFrom: position.cursor,
          ...(repair === undefined ? {} : { repair }),
          append: async (events: readonly Event[], cursor: string) => {
            if (failure !== undefined) throw failure
            try {
              return await append(events, cursor)
            } catch (error) {
              failure = error
              throw error
            }
          },
          [Symbol.asyncDispose]: async () => {
            if (closed && is('cannot be closed twice')) throw new Error('the client is closed')
            if (closed && is('hangs on the second close')) await new Promise(() => {})
            closed = true
            close()
          },
        }
      }
    },
  })

  return {
    sink,
    read: async () => (partitions === 1 ? [...entries] : entries.toSorted((a, b) => partitionOf(a) - partitionOf(b))),
    ...(delivery === undefined ? {} : { delivery }),
    ...(partitions === 1 ? {} : { ordered: 'by foreignId' as const }),
    loseTail: async (count) => {
      entries = entries.slice(0, -count)
      while (newest().length > entries.length) route.positions.pop()
    },
    wipe: async () => {
      entries = []
      route = { epoch: route.epoch, positions: [] }
    },
    ...(once ? { losesWhileOpen: true as const } : {}),
    refuse: async () => {
      refusing = true
      return () => {
        refusing = false
      }
    },
    freeze: async () => {
      const waiting: (() => void)[] = []
      frozen = waiting
      return () => {
        frozen = undefined
        for (const request of waiting) {
          try {
            request()
          } catch {
            // nobody is left to be told
          }
        }
      }
    },
    restart: async () => {
      generation++
      if (is('loses what was not synchronised')) entries = entries.slice(0, -1)
    },
    cut: async () => {
      generation++
    },
    loseReplies: async () => {
      losingReplies = true
      return () => {
        losingReplies = false
      }
    },
    oversize: LARGEST + 1,
    foreign: async () => {
      const headers = { [wireNames.source]: 'elsewhere', [wireNames.sourceId]: '1000' }
      entries.push({ id: String(entries.length + 1), type: 1, foreignId: 'x', timestamp: 0, metadata: null, headers })
    },
    connections: async () => sockets,
  }
}

/** A destination in memory as the tests of bridges have it. */
function memory(keeps: 'position' | 'events'): SinkSubject {
  const destination = simulatedDestination({ keeps })
  return {
    sink: () => destination.sink(),
    read: async () => [...destination.events],
    loseTail: async (count) => void destination.events.splice(-count),
    wipe: async () => destination.wipe(),
    losesWhileOpen: true,
  }
}

/** Destinations that are right. */
export const sinkCorrect: readonly SinkCase[] = [
  { name: 'a server with one destination', of: 'sink', create: () => subject() },
  { name: 'a server with partitions', of: 'sink', create: () => subject({ partitions: 2 }) },
  { name: 'a server, at least once', of: 'sink', create: () => subject({ delivery: 'at-least-once' }) },
  { name: 'simulatedDestination that keeps the position', of: 'sink', create: () => memory('position') },
  { name: 'simulatedDestination that keeps events only', of: 'sink', create: () => memory('events') },
]

/** Destinations that are broken, each in one way. */
export const sinkCases: readonly SinkCase[] = Object.entries(flaws).map(([name, cites]) => ({
  name,
  of: 'sink',
  create: () => {
    const partitions = name === 'resumes after the newest id over all partitions' ? 2 : 1
    return subject({ flaw: name as Flaw, partitions })
  },
  ...(cites === undefined ? {} : { cites }),
}))
