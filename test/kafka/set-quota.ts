import { expect } from 'vitest'
import { connectKafka } from '../../src/adapters/kafka/kafka-connection.ts'
import { kafkaRequest } from '../../src/adapters/kafka/protocol/request.ts'
import { writer } from '../../src/adapters/kafka/protocol/writer.ts'
import { adapterClient } from './fixture.ts'

/** Limits what a client may read or write, in bytes per second over about ten seconds: AlterClientQuotas 0. */
export async function setQuota(
  clientId: string,
  quota: 'consumer_byte_rate' | 'producer_byte_rate',
  rate: number,
): Promise<void> {
  await using connection = await connectKafka(adapterClient(), { log: 'test', topic: undefined })
  const text = (value: string): Buffer => Buffer.concat([writer().int16(value.length).done(), Buffer.from(value)])
  const value = Buffer.alloc(8)
  value.writeDoubleBE(rate)
  const one = writer().int32(1).done()
  const entity = [one, one, text('client-id'), text(clientId)]
  const body = Buffer.concat([...entity, one, text(quota), value, Buffer.from([0, 0])])
  const alter = kafkaRequest('AlterClientQuotas', { apiKey: 49, apiVersion: 0 }, body, (reply) => reply.readInt16BE(8))
  const controller = await connection.controller()
  expect(await controller.send(alter)).toBe(0)
}
