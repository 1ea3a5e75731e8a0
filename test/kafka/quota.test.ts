import { connect, type Socket } from 'node:net'
import { Kafka } from 'kafkajs'
import { expect, inject, onTestFinished, test } from 'vitest'
import { kafkaFailFast, kafkaPartition } from '../../src/adapters/kafka/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually, reader } from '../tools/reader.ts'
import { topicAdmin } from './fixture.ts'
import { setQuota } from './set-quota.ts'

/** The number of the request, behind the length. */
const FETCH = 1

test('a client that has used up its quota is held back for longer than a request may take, and goes on', async () => {
  const topic = fresh('log')
  const topics = await topicAdmin(topic)
  onTestFinished(() => topics[Symbol.asyncDispose]())
  const clientId = fresh('client')
  await setQuota(clientId, 'consumer_byte_rate', 20_000) // measured over 10 s
  const values = [0, 1].map((i) => String(i).padEnd(150_000, 'x'))
  for (const value of values) await topics.producer.send({ topic, messages: [{ value }] })
  let fetches = 0
  const socketFactory = ({ host, port, onConnect }: { host: string; port: number; onConnect: () => void }): Socket => {
    const socket = connect({ host, port }, onConnect)
    const write = socket.write.bind(socket) as (bytes: Buffer, encoding: BufferEncoding) => boolean
    const counted: typeof write = (bytes, encoding) => {
      if (Buffer.from(bytes).readInt16BE(4) === FETCH) fetches++
      return write(bytes, encoding)
    }
    return Object.assign(socket, { write: counted as Socket['write'] })
  }
  const kafka = new Kafka({ brokers: [inject('servers').kafka.url], ...kafkaFailFast, clientId, socketFactory })
  const limited = kafkaPartition(kafka, { topic, partition: 0, batchBytes: 100_000 })

  await using all = reader(await limited.stream('', { toHead: true }), '', 30_000)
  expect((await all.rest()).map(({ metadata }) => String(metadata))).toEqual(values)
  expect(fetches).toBeGreaterThan(1)
  expect(fetches).toBeLessThan(20) // it waits, and does not ask again and again

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
