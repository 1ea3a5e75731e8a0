import { setTimeout as pause } from 'node:timers/promises'
import type { Admin, Kafka, Message } from 'kafkajs'
import { fresh } from './adapter-subjects.ts'

/** A new topic of one partition. Disposing of it deletes it, sooner or later. */
export interface FreshTopic extends AsyncDisposable {
  readonly name: string
  readonly admin: Admin
  /** Resolves with the first offset. */
  send(messages: readonly Message[]): Promise<bigint>
  /** Deletes it, and makes another one of the same name. */
  recreate(): Promise<void>
  /** Resolves once its leader answers, and has for so long; default: 0 ms. */
  isThere(options?: { readonly forMs?: number }): Promise<void>
}

/** Topics, one after the other. */
export interface FreshTopics extends AsyncDisposable {
  take(): Promise<FreshTopic>
}

/** To make or to delete so many takes about as long as one. */
const AT_ONCE = 20
const LEADS_WITHIN_MS = 20_000

/**
 * Makes topics in sets, each with clients of its own: kafkajs asks for all that it has ever heard of, and fails if one of them is
 * gone, so that a set is deleted as a whole, with its clients.
 */
export function freshTopics(client: () => Kafka): FreshTopics {
  let current: Promise<TopicSet> | undefined
  const sets: TopicSet[] = []
  return {
    take: async () => {
      current ??= topicSet(client())
      const set = await current
      if (!sets.includes(set)) sets.push(set)
      const topic = set.take()
      if (set.isEmpty()) current = undefined
      await topic.isThere()
      return topic
    },
    [Symbol.asyncDispose]: async () => {
      for (const set of sets) await set[Symbol.asyncDispose]()
    },
  }
}

interface TopicSet extends AsyncDisposable {
  take(): FreshTopic
  isEmpty(): boolean
}

async function topicSet(kafka: Kafka): Promise<TopicSet> {
  const admin = kafka.admin()
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  await Promise.all([admin.connect(), producer.connect()])
  // kafkajs itself waits for leaders only if the broker has heard of the topic by then.
  const create = async (topics: readonly string[]): Promise<void> => {
    await admin.createTopics({ topics: topics.map((topic) => ({ topic, numPartitions: 1 })), waitForLeaders: false })
  }
  const all = Array.from({ length: AT_ONCE }, () => fresh('topic'))
  await create(all)
  const left = [...all]
  let inUse = all.length
  let ending: Promise<void> | undefined
  const end = async (): Promise<void> => {
    await admin.deleteTopics({ topics: all }).catch(() => {}) // the server may be gone
    await Promise.all([admin.disconnect(), producer.disconnect()])
  }

  return {
    isEmpty: () => left.length === 0,
    take: () => {
      const name = left.pop() as string
      /** The broker tells who leads a partition before it leads it. */
      const isThere: FreshTopic['isThere'] = async ({ forMs = 0 } = {}) => {
        let since = Date.now()
        for (const deadline = since + LEADS_WITHIN_MS; ; await pause(10)) {
          try {
            await admin.fetchTopicOffsets(name)
            if (Date.now() - since >= forMs) return
          } catch (error) {
            if (Date.now() > deadline) throw error
            since = Date.now()
          }
        }
      }
      return {
        name,
        admin,
        isThere,
        send: async (messages) => {
          const placed = messages.map((message) => ({ ...message, partition: 0 }))
          const [result] = await producer.send({ topic: name, acks: -1, messages: placed })
          return BigInt(result?.baseOffset ?? 0)
        },
        recreate: async () => {
          await admin.deleteTopics({ topics: [name] })
          await create([name])
          await isThere()
        },
        [Symbol.asyncDispose]: async () => {
          inUse--
          if (inUse === 0) ending ??= end()
        },
      }
    },
    [Symbol.asyncDispose]: () => {
      ending ??= end()
      return ending
    },
  }
}
