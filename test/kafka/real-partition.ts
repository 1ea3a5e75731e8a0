import { Kafka, type Transaction } from 'kafkajs'
import { inject, onTestFinished } from 'vitest'
import { openPartition } from '../../src/adapters/kafka/partition-log.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { eventually } from '../tools/reader.ts'
import { adapterClient, type TopicAdmin, topicAdmin } from './fixture.ts'
import {
  NothingMoreComes,
  type SimulatedPartition,
  type Step,
  simulatedPartition,
  TRANSACTIONAL,
  type WrittenRecord,
} from './simulated-partition.ts'

/** The steps that can be done to a real log whenever one wants. */
export type RealStep = Extract<Step, { op: 'append' | 'end' | 'trim' | 'nothing' }>

/** What happens to a partition: before it is read, and before each answer. */
export interface RealHistory {
  readonly before: readonly RealStep[]
  readonly during: readonly RealStep[]
}

/** A partition of a real broker, in place of a simulated one that says what is in it. Dispose of it before the next one. */
export type RealPartition = SimulatedPartition & AsyncDisposable

/** Makes producers, which end with the test. Each partition has a topic of its own. */
export async function realPartitions(): Promise<(history: RealHistory) => Promise<RealPartition>> {
  // What kafkajs needs not to wait for 300 ms after each transaction.
  const retry = { initialRetryTime: 5, maxRetryTime: 50, retries: 200, factor: 0, multiplier: 1.5 }
  const kafka = new Kafka({ brokers: [inject('servers').kafka.url], logLevel: 0, retry })
  const transactional = Array.from({ length: TRANSACTIONAL }, () =>
    kafka.producer({ idempotent: true, maxInFlightRequests: 1, transactionalId: fresh('id') }),
  )
  const idempotent = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  const plain = kafka.producer()
  const producers = [...transactional, idempotent, plain]
  // Deleted only at the end: kafkajs asks for all topics that it has ever heard of, and fails if one of them is gone.
  const topicAdmins: TopicAdmin[] = []
  onTestFinished(async () => {
    await Promise.all(producers.map((producer) => producer.disconnect()))
    await Promise.all(topicAdmins.map((each) => each[Symbol.asyncDispose]()))
  })
  await Promise.all(producers.map((producer) => producer.connect()))

  return async ({ before, during }) => {
    const topic = fresh('log')
    const at = { log: topic, topic, partition: 0 }
    const topics = await topicAdmin(topic)
    topicAdmins.push(topics)
    const log = await openPartition(adapterClient(), at)
    const all = await openPartition(adapterClient(), { ...at, isolation: 'all' })
    const model = simulatedPartition()
    const open = new Map<number, Transaction>()

    async function append(producer: number, records: readonly WrittenRecord[]): Promise<void> {
      const messages = records.map(({ type, serial }) => ({ key: String(type), value: String(serial), partition: 0 }))
      const whole = transactional[producer]
      if (whole !== undefined && !open.has(producer)) open.set(producer, await whole.transaction())
      await (open.get(producer) ?? (producer === TRANSACTIONAL ? idempotent : plain)).send({ topic, messages })
    }
    async function end(producer: number, outcome: 'commit' | 'abort'): Promise<void> {
      await open.get(producer)?.[outcome]()
      open.delete(producer)
    }
    async function apply(step: RealStep): Promise<void> {
      const known = model.written.length
      model.apply(step)
      if (step.op === 'append') await append(step.producer, model.written.slice(known))
      if (step.op === 'end') await end(step.producer, step.outcome)
      if (step.op === 'trim') await topics.trim(String(model.low))
      // What ends a transaction is written after the reply.
      await eventually(async () => (await all.bounds()).high === model.end, 5000, `the end of ${topic}`)
      await eventually(async () => (await log.bounds()).high === model.high, 5000, `the stable end of ${topic}`)
    }
    for (const step of before) await apply(step)
    const left = [...during]
    let doing: Promise<unknown> = Promise.resolve()
    /** One after the other: a reader that has stopped may have asked for what would have followed. */
    const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
      const done = doing.then(work)
      doing = done.catch(() => {})
      return done
    }
    return {
      apply: () => {},
      written: model.written,
      lostSince: () => undefined,
      get low() {
        return model.low
      },
      get high() {
        return model.high
      },
      get end() {
        return model.end
      },
      bounds: () =>
        inTurn(async () => {
          const step = left.shift()
          if (step !== undefined) await apply(step)
          return await log.bounds()
        }),
      fetch: (o) =>
        inTurn(async () => {
          const step = left.shift()
          if (step !== undefined) await apply(step)
          else if (o.offset === model.high) throw new NothingMoreComes()
          return await log.fetch(o)
        }),
      [Symbol.asyncDispose]: async () => {
        await doing
        for (const producer of open.keys()) await end(producer, 'abort')
        for (const each of [log, all]) await each[Symbol.asyncDispose]()
      },
    }
  }
}
