import { describe, expect, test } from 'vitest'
import { replication } from '../../src/adapters/kafka/create-topic.ts'
import { type EventLimit, eventLimit } from '../../src/adapters/kafka/event-limit.ts'
import type { KafkaConnection } from '../../src/adapters/kafka/kafka-connection.ts'
import { topicRisks } from '../../src/adapters/kafka/topic-risks.ts'
import { codeOf, ReflexError } from '../../src/core/errors.ts'
import { errorOf } from '../tools/reader.ts'

type Settings = Readonly<Record<string, string | null>>

/** The limit of a topic with settings, as each look at them finds it. */
function limitOf(...looks: (Settings | Error)[]): Promise<EventLimit> {
  const describeConfigs = async (): Promise<unknown> => {
    const found = looks.shift() ?? {}
    if (found instanceof Error) throw found
    const configEntries = Object.entries(found).map(([configName, configValue]) => ({ configName, configValue }))
    return { resources: [{ configEntries }] }
  }
  const broker = { call: (request: (broker: object) => Promise<unknown>) => request({ describeConfigs }) }
  const connection = { anyBroker: async () => broker } as unknown as KafkaConnection
  return eventLimit(connection, { where: 'here', topic: 't' })
}

const records = [{ key: Buffer.from('k'), value: Buffer.alloc(1000), headers: [] }]
const tooLarge = new ReflexError('KAFKA_MESSAGE_TOO_LARGE', 'the broker refused')

describe('the limit of an event', () => {
  test('is not 0 where the broker does not tell it', async () => {
    const limit = await limitOf(...Array(2).fill({ 'max.message.bytes': null, 'segment.bytes': null }))
    await limit.check([{ records }])
    const lower = await limitOf(...Array(2).fill({ 'max.message.bytes': null, 'segment.bytes': '100' }))
    expect(codeOf(await errorOf(lower.check([{ records }])))).toBe('EVENT_TOO_LARGE')
  })

  test("explains the broker's refusal of an event", async () => {
    const limit = await limitOf({}, { 'max.message.bytes': '100' })
    expect(await limit.explain(tooLarge, [{ records }])).toMatchObject({ code: 'EVENT_TOO_LARGE', cause: tooLarge })
  })

  test("leaves the broker's refusal as it is if it cannot be looked up, or if no event was refused", async () => {
    const limit = await limitOf({}, new Error('gone'))
    expect(await limit.explain(tooLarge, [{ records }])).toBe(tooLarge)
    expect(await limit.explain(tooLarge, [])).toBe(tooLarge)
  })
})

test.each([1, 2, 3, 5])('what is created has no risks, with %i brokers', (brokers) => {
  const { replicationFactor: replicas, safe } = replication({ brokers: () => brokers })
  const byDefault = { 'min.insync.replicas': '1', 'retention.bytes': '-1', 'retention.ms': '604800000' }
  const risks = (holds: 'events' | 'checkpoints', policy: string): string[] =>
    topicRisks({
      ...{ topic: 't', holds, replicas, brokers },
      settings: { ...byDefault, ...safe, 'cleanup.policy': policy },
    })
  expect([risks('events', 'delete'), risks('checkpoints', 'compact')]).toEqual([[], []])
})
