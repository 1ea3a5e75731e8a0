import { Kafka } from 'kafkajs'
import { expect, inject, onTestFinished, test } from 'vitest'
import { kafkaFailFast, kafkaPartition } from '../../src/adapters/kafka/index.ts'
import { connectKafka } from '../../src/adapters/kafka/kafka-connection.ts'
import { kafkaRequest } from '../../src/adapters/kafka/protocol/request.ts'
import { writer } from '../../src/adapters/kafka/protocol/writer.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually, reader } from '../tools/reader.ts'
import { adapterClient, topicAdmin } from './fixture.ts'

/** Limits what a client may read, in bytes per second: AlterClientQuotas 0. */
async function setQuota(topic: string, clientId: string, rate: number): Promise<void> {
  await using connection = await connectKafka(adapterClient(), { log: 'test', topic })
  const text = (value: string): Buffer => Buffer.concat([writer().int16(value.length).done(), Buffer.from(value)])
  const value = Buffer.alloc(8)
  value.writeDoubleBE(rate)
  const one = writer().int32(1).done()
  const entity = [one, one, text('client-id'), text(clientId)]
  const body = Buffer.concat([...entity, one, text('consumer_byte_rate'), value, Buffer.from([0, 0])])
  const alter = kafkaRequest('AlterClientQuotas', { apiKey: 49, apiVersion: 0 }, body, (reply) => reply.readInt16BE(8))
  const controller = await connection.controller()
  expect(await controller.send(alter)).toBe(0)
}

test('a client that has used up its quota is held back for longer than a request may take, and goes on', async () => {
  const topic = fresh('log')
  const topics = await topicAdmin(topic)
  onTestFinished(() => topics[Symbol.asyncDispose]())
  const clientId = fresh('client')
  await setQuota(topic, clientId, 20_000) // measured over 10 s
  const values = [0, 1].map((i) => String(i).padEnd(150_000, 'x'))
  for (const value of values) await topics.producer.send({ topic, messages: [{ value }] })
  const kafka = new Kafka({ brokers: [inject('servers').kafka.url], ...kafkaFailFast, clientId })
  const limited = kafkaPartition(kafka, { topic, partition: 0, batchBytes: 100_000 })

  await using all = reader(await limited.stream('', { toHead: true }), '', 30_000)
  expect((await all.rest()).map(({ metadata }) => String(metadata))).toEqual(values)

  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  await all[Symbol.asyncDispose]()
  const before = timers()
  const controller = new AbortController()
  await using again = reader(await limited.stream('', { signal: controller.signal }))
  const waiting = errorOf(again.take(2), 1000, 'the abort')
  await new Promise((resolve) => setTimeout(resolve, 100))
  controller.abort(controller)
  expect(await waiting).toBe(controller)
  await eventually(() => timers() <= before, 1000, 'no timer is left')
})
