import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inject } from 'vitest'
import { headerBlock } from '../../src/adapters/jetstream/codec.ts'
import { type JetStreamSinkOptions, jetstreamSink } from '../../src/adapters/jetstream/jetstream-sink.ts'
import type { Event } from '../../src/core/event.ts'
import type { Checkpoint, SinkWriter } from '../../src/core/sink.ts'
import { wireNames } from '../../src/core/wire.ts'
import type { Server } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { hasAtomicBatches } from '../subjects/jetstream.ts'
import { type NatsAdmin, natsEventOf, natsHeadersOf } from '../subjects/nats-admin.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { type ClientName, connector, ownServer, testAdmin } from './fixture.ts'

/** The name of the source. */
export const SOURCE = 'shop.events'

/** Events `from` to `from + count - 1` of a source. */
export function events(count: number, { from = 1, bytes = 10 }: { from?: number; bytes?: number } = {}): Event[] {
  return Array.from({ length: count }, (_, i) => ({
    id: String(from + i),
    type: 1 + ((from + i) % 3),
    foreignId: `e${from + i}`,
    timestamp: 1_767_225_600_000,
    metadata: Buffer.alloc(bytes, 120),
    headers: {},
  }))
}

/** A sink of a stream of its own, and what is in there. */
export interface Route {
  readonly to: NatsAdmin
  readonly stream: string
  readonly prefix: string
  /** Opens a writer; it is closed with the test. */
  open(saved?: Checkpoint, options?: Partial<JetStreamSinkOptions>): Promise<SinkWriter>
  /** The source ids of the messages under the prefix, in order. */
  ids(): Promise<unknown[]>
}

/** Options of `route`. */
export interface RouteOptions {
  readonly url?: string
  readonly stream?: string
  readonly prefix?: string
  readonly source?: string
  /** Of the stream, which is made if it is not given by name. */
  readonly config?: object
  readonly client?: ClientName
  readonly connect?: object
  readonly to?: NatsAdmin
}

/** Makes a stream, and a sink for it. */
export async function route(options: RouteOptions = {}): Promise<Route> {
  const { url = inject('servers').nats.url, source = SOURCE, client = '@nats-io v3' } = options
  const to = options.to ?? (await testAdmin(url))
  const stream = options.stream ?? fresh('out')
  const prefix = options.prefix ?? `${stream}.to`
  if (options.stream === undefined) await to.createStream(stream, { subjects: [`${prefix}.>`], ...options.config })
  const connect = connector(client, url, options.connect)
  return {
    to,
    stream,
    prefix,
    open: async (saved, more = {}) => {
      const sink = jetstreamSink({ connect, stream, subject: prefix, ...more })
      const writer = await sink.open({ route: 'r', source, saved })
      onTestFinished(() => writer[Symbol.asyncDispose]())
      return writer
    },
    ids: async () =>
      (await to.messages(stream))
        .filter(({ subject }) => subject.startsWith(`${prefix}.`))
        .map((each) => natsEventOf(each).headers[wireNames.sourceId]),
  }
}

/** Appends events up to `end` in batches, from where the writer says, or after `from`; what a bridge would have saved. */
export async function pump(
  writer: SinkWriter,
  end: number,
  { batch = 5, from = Number(writer.resumeFrom) }: { batch?: number; from?: number } = {},
): Promise<Checkpoint> {
  let checkpoint: Checkpoint | undefined
  for (let at = from; at < end; ) {
    const part = events(Math.min(batch, end - at), { from: at + 1 })
    at += part.length
    checkpoint = { cursor: String(at), mark: await writer.append(part, String(at)) }
  }
  return checkpoint as Checkpoint
}

/** The ids of the events up to the `count`th. */
export const upTo = (count: number, from = 1): string[] => events(count - from + 1, { from }).map(({ id }) => id)

/** The newest sequence of a stream. */
export const lastSeq = async (to: NatsAdmin, stream: string): Promise<number> => (await to.info(stream)).state.last_seq

/** The headers of a message, as they stand on the wire. */
export const headersOf = (pairs: readonly (readonly [name: string, value: string])[]): Uint8Array =>
  headerBlock(pairs.map(([name, value]) => `${name}: ${value}\r\n`).join(''))

/** The server loses the last `lose` messages, as one that is restored from an older copy, in a stream of the same name. */
export async function restoreOlder(to: NatsAdmin, stream: string, lose: number): Promise<void> {
  const { config } = await to.info(stream)
  const kept = (await to.messages(stream)).slice(0, -lose)
  await to.api(`STREAM.DELETE.${stream}`)
  await to.createStream(stream, config)
  for (const message of kept) await to.publish(message.subject, message.data, headersOf(natsHeadersOf(message)))
}

/** A folder of the test's own. */
export async function ownFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'reflex-nats-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** A server with a configuration file. */
export async function serverWith(config: string): Promise<Server> {
  const path = join(await ownFolder(), 'nats.conf')
  await writeFile(path, config)
  return ownServer({ args: ['-c', path] })
}

/** Whether the server has atomic batches. */
export const atomic: boolean = hasAtomicBatches(inject('servers').nats.version)
/** How events can be appended, and the settings of a stream for it. */
export const modes: { readonly mode: string; readonly config: object }[] = [
  ...(atomic ? [{ mode: 'atomic', config: { allow_atomic: true } }] : []),
  { mode: 'message by message', config: {} },
]
/** Options of a test of what only servers with atomic batches have. */
export const needsAtomic: { readonly skip: boolean } = { skip: !atomic }
