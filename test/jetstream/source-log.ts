import { inject } from 'vitest'
import { type JetStreamSourceOptions, jetstreamSource } from '../../src/adapters/jetstream/index.ts'
import type { Cursor, Event } from '../../src/core/event.ts'
import type { Source, StreamOptions } from '../../src/core/stream.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import type { NatsAdmin } from '../subjects/nats-admin.ts'
import { numbered } from '../tools/numbered.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { eventually, type Reader, reader } from '../tools/reader.ts'
import { appendTo, connector, testAdmin } from './fixture.ts'

/** A stream of a test's own, and what is read from it. */
export interface SourceLog {
  readonly admin: NatsAdmin
  readonly stream: string
  source(options?: Partial<JetStreamSourceOptions>): Source
  open(after: Cursor, options?: StreamOptions & Partial<JetStreamSourceOptions>): Promise<Reader>
  /** Appends numbered events as the sink writes them; resolves with their sequences. */
  append(count: number, offset?: number): Promise<string[]>
  /** Publishes a message that no bridge has written to `<stream>.<token>`; resolves with its sequence. */
  publish(token: string, payload?: Uint8Array | string): Promise<string>
  /** Everything after a cursor up to the head. */
  rest(after: Cursor, options?: Partial<JetStreamSourceOptions>): Promise<Event[]>
  purge(body?: object): Promise<unknown>
  remove(seq: string): Promise<unknown>
  /** Deletes the stream. */
  end(): Promise<unknown>
  createdAt(): Promise<string>
  /** The server's list of consumers. */
  consumers(): Promise<ConsumerInfo[]>
  /** Resolves when the server has no consumer of the stream any more. */
  noConsumer(withinMs?: number): Promise<void>
}

/** What is looked at of a consumer. */
export interface ConsumerInfo {
  readonly name: string
  readonly config: { readonly inactive_threshold: number; readonly mem_storage?: boolean }
  readonly delivered: { readonly consumer_seq: number; readonly stream_seq: number }
}

/** Makes a stream, with the subjects that begin with its name, that goes with the test. */
export async function sourceLog(config: object = {}, url: string = inject('servers').nats.url): Promise<SourceLog> {
  const admin = await testAdmin(url)
  const stream = fresh('log')
  await admin.createStream(stream, config)
  const end = (): Promise<unknown> => admin.api(`STREAM.DELETE.${stream}`)
  onTestFinished(async () => void (await end().catch(() => {}))) // a test may have done it
  const consumers = async (): Promise<ConsumerInfo[]> => {
    const { consumers } = await admin.api<{ consumers: ConsumerInfo[] | null }>(`CONSUMER.LIST.${stream}`)
    return consumers ?? []
  }
  const source: SourceLog['source'] = (options) =>
    jetstreamSource({ connect: connector('@nats-io v3', url), stream, ...options })
  return {
    admin,
    stream,
    source,
    open: async (after, { signal, toHead, fromHead, types, ...options } = {}) => {
      const opened = await source(options).stream(after, { signal, toHead, fromHead, types })
      onTestFinished(() => opened[Symbol.asyncDispose]())
      return reader(opened, after)
    },
    append: (count, offset = 0) => appendTo(admin, stream, numbered(count, { offset })),
    publish: (token, payload = 'x') => admin.publish(`${stream}.${token}`, payload),
    rest: async (after, options) => {
      await using all = reader(await source(options).stream(after, { toHead: true }), after)
      return await all.rest()
    },
    purge: (body = {}) => admin.api(`STREAM.PURGE.${stream}`, body),
    remove: (seq) => admin.api(`STREAM.MSG.DELETE.${stream}`, { seq: Number(seq) }),
    end,
    createdAt: async () => (await admin.api<{ created: string }>(`STREAM.INFO.${stream}`)).created,
    consumers,
    noConsumer: (withinMs = 1000) =>
      eventually(async () => (await consumers()).length === 0, withinMs, 'no consumer is left'),
  }
}
