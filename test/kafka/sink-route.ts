import { expect } from 'vitest'
import { type KafkaSinkOptions, kafkaSink } from '../../src/adapters/kafka/index.ts'
import { isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import type { Checkpoint, SinkWriter } from '../../src/core/sink.ts'
import { wireNames } from '../../src/core/wire.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { adapterClient, partitionsOf, type TopicAdmin, topicAdmin } from './fixture.ts'

/** The name of the source. */
export const SOURCE = 'shop.events'

/** Events 1 to `count` of a source. */
export function events(count: number, { from = 1, bytes = 10 }: { from?: number; bytes?: number } = {}): Event[] {
  return Array.from({ length: count }, (_, i) => ({
    id: String(from + i),
    type: 1,
    foreignId: `e${(from + i) % 7}`,
    timestamp: 1_767_225_600_000,
    metadata: Buffer.alloc(bytes, 120),
    headers: {},
  }))
}

/** What an opening is refused with for good: partitions that were just made may have no leader yet, which passes. */
export async function refusalOf(open: () => Promise<unknown>): Promise<unknown> {
  let error: unknown
  const isFinal = async (): Promise<boolean> => {
    error = await errorOf(open())
    return !isRetriable(error)
  }
  await eventually(isFinal, 20_000, 'the leaders')
  return error
}

/** A topic, and a route into it. */
export interface Route {
  readonly topic: string
  readonly checkpointTopic: string
  readonly topics: TopicAdmin
  /** Opens a writer; it is closed with the test. */
  open(
    saved?: Checkpoint,
    options?: Partial<KafkaSinkOptions> & { source?: string; name?: string },
  ): Promise<SinkWriter>
  /** The source ids of the records, partition by partition. */
  ids(): Promise<string[][]>
}

/** A fresh topic, with a topic of checkpoints of its own; both are deleted with the test. */
export async function route({
  brokers,
  partitions = 1,
}: {
  brokers?: string
  partitions?: number
} = {}): Promise<Route> {
  const [topic, checkpointTopic] = [fresh('out'), fresh('checkpoints')]
  const topics = await topicAdmin(topic, { ...(brokers === undefined ? {} : { brokers }), partitions })
  onTestFinished(async () => {
    const there = await topics.admin.listTopics() // it may never have been made
    if (there.includes(checkpointTopic)) await topics.admin.deleteTopics({ topics: [checkpointTopic] })
    await topics[Symbol.asyncDispose]()
  })
  return {
    topic,
    checkpointTopic,
    topics,
    open: async (saved, { source = SOURCE, name = 'r', ...options } = {}) => {
      const sink = kafkaSink(adapterClient(brokers), { topic, checkpointTopic, ...options })
      const writer = await sink.open({ route: name, source, saved })
      onTestFinished(() => writer[Symbol.asyncDispose]())
      return writer
    },
    ids: async () =>
      (await partitionsOf(topic, brokers, partitions)).map((partition) =>
        partition.map(({ headers }) => String(headers[wireNames.sourceId])),
      ),
  }
}

/** Appends events up to `end` in batches, from where the writer says; what a bridge would have saved. */
export async function pump(
  writer: SinkWriter,
  all: readonly Event[],
  end: number = all.length,
  size = 5,
): Promise<Checkpoint | undefined> {
  let saved: Checkpoint | undefined
  for (let at = Number(writer.resumeFrom); at < end; ) {
    const batch = all.slice(at, Math.min(at + size, end))
    at += batch.length
    const cursor = String(at)
    saved = { cursor, mark: await writer.append(batch, cursor) }
  }
  return saved
}

/** Their ids. */
export const idsOf = (all: readonly Event[]): string[] => all.map(({ id }) => id)

/** Every id once, and rising in each partition. */
export function expectOnce(partitions: readonly (readonly string[])[], all: readonly Event[]): void {
  for (const partition of partitions) expect(partition.map(Number)).toEqual(partition.map(Number).sort((a, b) => a - b))
  expect(partitions.flat().sort((a, b) => Number(a) - Number(b))).toEqual(idsOf(all))
}
