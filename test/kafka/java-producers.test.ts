import { expect, onTestFinished, test } from 'vitest'
import { type KafkaPartitionOptions, kafkaPartition } from '../../src/adapters/kafka/index.ts'
import type { Event } from '../../src/core/event.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { reader } from '../tools/reader.ts'
import { adapterClient, testClient } from './fixture.ts'
import { consoleProducer, createTopic, transactionalProducers } from './java-clients.ts'

/** What our source reads of partition 0, up to its head. */
async function read(topic: string, after = '', options: Partial<KafkaPartitionOptions> = {}): Promise<Event[]> {
  const { stream } = kafkaPartition(adapterClient(), { topic, partition: 0, ...options })
  await using all = reader(await stream(after, { toHead: true }), after)
  return await all.rest()
}

const valuesOf = (events: readonly Event[]): string[] => events.map(({ metadata }) => String(metadata))

test("what the console producer sent is read: the key as foreignId, headers, bytes and nulls; with decode as one's own", async () => {
  const topic = fresh('console')
  await createTopic(topic)
  const lines = ['a:1,b:é\tada:{"n":1}', 'a:2\tbob:NULL', 'a:3\t:']
  await consoleProducer(topic, lines, { keySeparator: ':', headers: true, nullMarker: 'NULL' })
  const events = await read(topic)
  expect(
    events.map(({ type, foreignId, metadata, headers }) => [type, foreignId, metadata && String(metadata), headers]),
  ).toEqual([
    [0, 'ada', '{"n":1}', { a: '1', b: 'é' }],
    [0, 'bob', null, { a: '2' }],
    [0, '', '', { a: '3' }],
  ])
  for (const { timestamp } of events) expect(Math.abs(timestamp - Date.now())).toBeLessThan(60_000)
  const decoded = await read(topic, '0', {
    decode: ({ key, value, timestamp, offset }, from) => ({
      type: 7,
      foreignId: `${from}/${key}/${offset}`,
      timestamp,
      metadata: value,
      headers: {},
    }),
  })
  expect(decoded.map(({ id, type, foreignId }) => [id, type, foreignId])).toEqual([
    ['1', 7, `${topic}/bob/1`],
    ['2', 7, `${topic}//2`],
  ])
  // No consumer group is left behind by any of it.
  const admin = testClient().admin()
  await admin.connect()
  onTestFinished(() => admin.disconnect())
  const { groups } = await admin.listGroups()
  expect(groups.filter(({ groupId }) => groupId.includes('reflex-bridge'))).toEqual([])
})

test.each(['gzip', 'snappy', 'lz4', 'zstd'])(
  'batches that the console producer compressed with %s are read',
  async (codec) => {
    const topic = fresh(codec)
    await createTopic(topic)
    const lines = ['a line of several blocks '.repeat(10_000), 'a line', 'another '.repeat(100)]
    await consoleProducer(topic, lines, { args: ['--compression-codec', codec] })
    for (const after of ['', '0', '1', '2']) {
      const from = after === '' ? 0 : Number(after) + 1
      expect(valuesOf(await read(topic, after))).toEqual(lines.slice(from))
    }
  },
)

test('of interleaved transactions of Java producers only the committed ones come, from every position', async () => {
  const topic = fresh('transactions')
  await createTopic(topic)
  await using producers = transactionalProducers()
  const [a, b] = [fresh('a'), fresh('b')]
  const at: Record<string, bigint> = {}
  const send = async (id: string, value: string): Promise<void> => {
    at[value] = BigInt(await producers.send(id, { topic, value }))
  }
  for (const outcome of ['abort', 'commit'] as const) {
    await producers.begin(a)
    await producers.begin(b)
    await send(a, `a1 ${outcome}`)
    await send(b, `b1 ${outcome}`)
    await send(a, `a2 ${outcome}`)
    await send(b, `b2 ${outcome}`)
    await producers.abort(a)
    await producers[outcome](b)
  }
  await producers.begin(a)
  await send(a, 'open')
  await producers.begin(b)
  await send(b, 'committed behind an open one')
  await producers.commit(b)
  const committed = ['b1 commit', 'b2 commit']
  for (let after = -1n; after < (at['open'] as bigint); after++)
    expect(valuesOf(await read(topic, String(after)))).toEqual(
      committed.filter((value) => (at[value] as bigint) > after),
    )
  await producers.abort(a)
  expect(valuesOf(await read(topic))).toEqual([...committed, 'committed behind an open one'])
})
