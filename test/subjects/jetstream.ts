import { connect as connectV3 } from '@nats-io/transport-node'
import { connect as connectV2 } from 'nats'
import { headerBlock } from '../../src/adapters/jetstream/codec.ts'
import { encodeMessage, withHeaders } from '../../src/adapters/jetstream/encode-message.ts'
import {
  type ConnectNats,
  jetstreamCursors,
  jetstreamFailFast,
  jetstreamSink,
  jetstreamSource,
  type NatsConnection,
} from '../../src/adapters/jetstream/index.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import { wireNames } from '../../src/core/wire.ts'
import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'
import type { SinkSubject } from '../../src/testing/sink/sink-subject.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import { type AdapterSubjects, fresh, type SubjectServer, serverFaults } from './adapter-subjects.ts'
import { type NatsAdmin, type NatsBackup, type NatsStored, natsAdmin, natsEventOf } from './nats-admin.ts'

/** The clients that the adapter works with, by name. */
export const natsClients: Readonly<
  Record<'@nats-io v3' | 'nats 2.29', (servers: string, options?: object) => ConnectNats>
> = {
  '@nats-io v3': (servers, options) => () => connectV3({ ...jetstreamFailFast, servers, ...options }),
  'nats 2.29': (servers, options) => () =>
    connectV2({ ...jetstreamFailFast, servers, ...options }) as Promise<NatsConnection>,
}

/** Whether a server of this version has atomic batches. */
export function hasAtomicBatches(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return major > 2 || (major === 2 && minor >= 12)
}

/** JetStream streams and key-value buckets, with both clients. */
export async function jetstreamSubjects(server: SubjectServer): Promise<AdapterSubjects> {
  const own = await serverFaults(server)
  const admin = await natsAdmin(server.url)
  const url = own === undefined ? server.url : `nats://${own.host}:${own.port}`

  async function source(connect: ConnectNats): Promise<SourceSubject> {
    const name = fresh('log')
    let stream = await newStream(admin, name, [`${name}.>`])
    const gone: { before: number; readonly removed: Set<number> } = { before: 0, removed: new Set() }
    const apply = async (): Promise<void> => {
      // NATS 2.9 takes 1 for everything.
      if (gone.before > 1) await admin.api(`STREAM.PURGE.${name}`, { seq: gone.before })
      for (const seq of gone.removed)
        if (seq > gone.before) await admin.api(`STREAM.MSG.DELETE.${name}`, { seq }).catch(() => {}) // it may be gone
    }
    return {
      source: jetstreamSource({ connect, stream: name, batchSize: 3 }),
      append: (events) => stream.publish(events.map((event) => messageOf(event, name))),
      trim: async (id) => {
        gone.before = Number(id)
        await apply()
      },
      remove: async (id) => {
        gone.removed.add(Number(id))
        await admin.api(`STREAM.MSG.DELETE.${name}`, { seq: Number(id) })
      },
      recreate: async () => {
        await stream.end()
        gone.before = 0
        gone.removed.clear()
        stream = await newStream(admin, name, [`${name}.>`])
      },
      rewind: async (id) => {
        await stream.keep(Number(id))
        await apply()
      },
      corrupt: async () => {
        const lines = [wireNames.type, wireNames.foreignId, wireNames.timestamp].map((each) => `${each}: none\r\n`)
        await stream.publish([{ subject: `${name}.1`, data: Buffer.of(), headers: headerBlock(lines.join('')) }])
      },
      malformed: ['abc', '1@abc', '-1', '1-0', '01', '+1', '1.5', '18446744073709551616', ' 1', '@', '1@'],
      ...own?.faults,
      connections: async () => (await admin.info(name)).state.consumer_count + ((await own?.faults.connections()) ?? 0),
      [Symbol.asyncDispose]: () => stream.end(),
    }
  }

  async function sink(connect: ConnectNats, { atomic, shared }: SinkKind): Promise<SinkSubject> {
    const name = fresh('destination')
    const subject = `${name}.to`
    const subjects = [`${subject}.>`, ...(shared ? [`${name}.other`] : [])]
    const make = (): Promise<KnownStream> => newStream(admin, name, subjects, atomic ? { allow_atomic: true } : {})
    let stream = await make()
    let wasFrozen = false
    const all = (): Promise<NatsStored[]> => admin.messages(name)
    return {
      sink: () =>
        jetstreamSink({ connect, stream: name, subject: shared ? `${subject}.{type}.of-{foreignId}` : subject }),
      read: async () => (await all()).filter((each) => each.subject.startsWith(`${subject}.`)).map(natsEventOf),
      loseTail: async (count) => {
        const there = await all()
        const first = there.filter((each) => each.subject.startsWith(`${subject}.`)).at(-count)
        await stream.refill(there.slice(0, first === undefined ? 0 : there.indexOf(first)))
      },
      losesWhileOpen: true,
      wipe: async () => {
        await stream.end()
        stream = await make()
      },
      refuse: async () => {
        const { config, state } = await admin.info(name)
        await admin.api(`STREAM.UPDATE.${name}`, { ...config, discard: 'new', max_msgs: Math.max(1, state.messages) })
        return async () => void (await admin.api(`STREAM.UPDATE.${name}`, config))
      },
      oversize: 1024 * 1024,
      ...(shared && { foreign: async () => void (await admin.publish(`${name}.other`, 'by others')) }),
      ...own?.faults,
      ...(own && {
        freeze: () => {
          wasFrozen = true
          return own.faults.freeze()
        },
        // Both clients leave the socket of a connect that timed out to the server, which ends it after minutes.
        connections: async () => (wasFrozen ? 0 : await own.faults.connections()),
      }),
      [Symbol.asyncDispose]: () => stream.end(),
    }
  }

  async function store(connect: ConnectNats): Promise<CursorStoreSubject> {
    const bucket = fresh('cursors')
    const cursors = jetstreamCursors({ connect, bucket })
    await cursors.createBucket()
    return {
      cursors,
      another: () => jetstreamCursors({ connect, bucket }),
      ...own?.faults,
      [Symbol.asyncDispose]: async () => void (await admin.api(`STREAM.DELETE.KV_${bucket}`)),
    }
  }

  const clients = Object.entries(natsClients).map(([name, connector]) => [name, connector(url)] as const)
  const kinds = Object.entries(sinkKinds).filter(([, { atomic }]) => !atomic || hasAtomicBatches(server.version))
  return {
    sources: Object.fromEntries(clients.map(([name, to]) => [`jetstreamSource, ${name}`, () => source(to)])),
    sinks: Object.fromEntries(
      clients.flatMap(([name, to]) => kinds.map(([kind, o]) => [`jetstreamSink, ${kind}, ${name}`, () => sink(to, o)])),
    ),
    stores: Object.fromEntries(clients.map(([name, to]) => [`jetstreamCursors, ${name}`, () => store(to)])),
    [Symbol.asyncDispose]: async () => {
      await admin[Symbol.asyncDispose]()
      await own?.[Symbol.asyncDispose]()
    },
  }
}

interface SinkKind {
  readonly atomic: boolean
  readonly shared: boolean
}

const sinkKinds: Readonly<Record<string, SinkKind>> = {
  'message by message': { atomic: false, shared: false },
  'atomic batches': { atomic: true, shared: false },
  'atomic batches, shared stream, a subject per entity': { atomic: true, shared: true },
}

type Message = Pick<NatsStored, 'subject' | 'data'> & { readonly headers: Uint8Array | undefined }

/** The message of an event as `jetstreamSink` writes it. */
export function messageOf(event: NewEvent, prefix: string): Message {
  const whole: Event = { id: '0', timestamp: Date.now(), metadata: null, headers: {}, ...event }
  const { subject, headers, data } = withHeaders(
    encodeMessage(whole, { subject: `${prefix}.${whole.type}`, source: 'suite' }),
    '',
  )
  return { subject, headers, data: Buffer.from(data) }
}

/** A stream that can be set back: the server has no means for it but to restore a copy. */
interface KnownStream {
  publish(messages: readonly Message[]): Promise<string[]>
  /** Forgets what followed message `seq`. */
  keep(seq: number): Promise<void>
  /** Has these messages, and is otherwise as it was when it was made. */
  refill(messages: readonly Message[]): Promise<void>
  end(): Promise<void>
}

async function newStream(
  admin: NatsAdmin,
  name: string,
  subjects: readonly string[],
  config: object = {},
): Promise<KnownStream> {
  await admin.createStream(name, { subjects, ...config })
  const empty: NatsBackup = await admin.backUp(name)
  let published: Message[] = []

  async function publish(messages: readonly Message[]): Promise<string[]> {
    const ids = Promise.all(messages.map(({ subject, data, headers }) => admin.publish(subject, data, headers)))
    published.push(...messages)
    return await ids
  }
  async function refill(messages: readonly Message[]): Promise<void> {
    await admin.restore(name, empty)
    published = []
    await publish(messages)
  }
  return {
    publish,
    keep: (seq) => refill(published.slice(0, seq)),
    refill,
    end: async () => void (await admin.api(`STREAM.DELETE.${name}`)),
  }
}
