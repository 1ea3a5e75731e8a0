import { expect, it } from 'vitest'
import { kafkaPublisher } from '../../src/adapters/kafka/index.ts'
import { type Publication, publisher, stringCodec } from '../../src/pubsub/index.ts'
import { partitionsOf, topicAdmin } from '../kafka/fixture.ts'
import { patchedClient } from '../kafka/patched-client.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'

const PARTITIONS = 3
const PRODUCE = 0

it('many publishes at once share requests, in order for each key, and each hears of its own outcome, beside other writers', async () => {
  const topic = fresh('batches')
  const admin = await topicAdmin(topic, { partitions: PARTITIONS, config: { 'max.message.bytes': '20000' } })
  onTestFinished(() => admin[Symbol.asyncDispose]())
  let requests = 0
  const counting = patchedClient(({ request }) => {
    if ((request as unknown as { apiKey: number }).apiKey === PRODUCE) requests++
    return undefined
  })
  const { publish } = publisher({ to: kafkaPublisher(counting, { topic }), client: 'web-1' })
  const publications = Array.from({ length: 1500 }, (_, i): Publication<string> => {
    const isLarge = i % 700 === 400
    return { type: i, foreignId: `k${i % 20}`, codec: stringCodec, data: 'x'.repeat(isLarge ? 30_000 : 100) }
  })
  const others = (async () => {
    for (let i = 0; i < 60; i++) await admin.producer.send({ topic, messages: [{ key: `${i}`, value: 'by others' }] })
  })()
  const outcomes = await Promise.all(
    publications.map((each) =>
      publish(each).catch(({ code, message }: { code: string; message: string }) => ({ code, message })),
    ),
  )
  await others
  const log = await partitionsOf(topic, undefined, PARTITIONS)
  const types: Record<string, number[]> = {}
  for (const [i, outcome] of outcomes.entries()) {
    const { foreignId, data } = publications[i] as { foreignId: string; data: string }
    if (data.length > 1000) {
      expect(outcome).toMatchObject({ code: 'EVENT_TOO_LARGE', message: expect.stringContaining('max.message.bytes') })
      continue
    }
    const { id, partition = -1 } = outcome as { id: string; partition?: number }
    expect(log[partition]?.[Number(id)], `${i}: ${JSON.stringify(outcome)}`).toMatchObject({ id, type: i, foreignId })
    types[foreignId] ??= []
  }
  for (const { foreignId, type, headers } of log.flat())
    if (headers['client-id'] !== undefined) types[foreignId]?.push(type)
  for (const found of Object.values(types)) expect(found).toEqual(found.toSorted((a, b) => a - b))
  expect(Object.values(types).flat()).toHaveLength(1498)
  expect(requests).toBeLessThan(150) // of at most 20,000 bytes each
})
