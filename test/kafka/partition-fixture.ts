import { onTestFinished } from 'vitest'
import { type KafkaPartitionOptions, kafkaPartition } from '../../src/adapters/kafka/index.ts'
import type { Event } from '../../src/core/event.ts'
import type { Source } from '../../src/core/stream.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { reader } from '../tools/reader.ts'
import { adapterClient, type TopicAdmin, topicAdmin } from './fixture.ts'

/** A topic of one partition, which is deleted with the test. `config` holds topic settings such as `cleanup.policy`. */
export async function newTopic(
  config: Readonly<Record<string, string>> = {},
  brokers?: string,
): Promise<TopicAdmin & { readonly topic: string }> {
  const topic = fresh('log')
  const topics = await topicAdmin(topic, { config, ...(brokers === undefined ? {} : { brokers }) })
  onTestFinished(() => topics[Symbol.asyncDispose]())
  return { ...topics, topic, [Symbol.asyncDispose]: () => topics[Symbol.asyncDispose]() }
}

/** Partition 0 of a topic, as our source reads it. */
export function partitionOf(topic: string, options: Partial<KafkaPartitionOptions> = {}, brokers?: string): Source {
  return kafkaPartition(adapterClient(brokers), { topic, partition: 0, ...options })
}

/** Everything after a cursor, and the cursor behind it, without the topic's id. */
export async function readAll(source: Source, after = ''): Promise<{ events: Event[]; cursor: string }> {
  await using all = reader(await source.stream(after, { toHead: true }), after)
  return { events: await all.rest(), cursor: all.cursor.replace(/@.*/, '') }
}

/** The payloads of events as text. */
export function valuesOf({ events }: { readonly events: readonly Event[] }): (string | null)[] {
  return events.map(({ metadata }) => metadata && String(metadata))
}
