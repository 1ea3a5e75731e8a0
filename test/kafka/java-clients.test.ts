import { describe, expect, it } from 'vitest'
import {
  type ConsoleRecord,
  consoleConsumer,
  consoleProducer,
  createTopic,
  transactionalProducers,
} from './java-clients.ts'

let count = 0
const fresh = (what: string): string => `${what}-${process.pid}-${Date.now().toString(36)}-${count++}`
const values = (records: readonly ConsoleRecord[]): (string | undefined)[] =>
  records.map(({ value }) => value?.toString())

async function freshTopic(): Promise<string> {
  const topic = fresh('java')
  await createTopic(topic)
  return topic
}

describe("Kafka's own Java clients", () => {
  it('the console consumer sees what the console producer sent: keys, headers, bytes, nulls', async () => {
    const topic = await freshTopic()
    const lines = ['a:1,b:zwei und ü\torder-7=hello', 'NULL\torder-8=NULL', 'a:\torder-9=x=y\\x41\tz', 'a:1\tNULL=null']
    const before = Date.now()
    await consoleProducer(topic, lines, { keySeparator: '=', headers: true, nullMarker: 'NULL' })
    const records = await consoleConsumer(topic, { count: 4 })
    const expected = [
      { key: 'order-7', headers: [['a', '1'], ['b', 'zwei und ü']], value: 'hello' }, // biome-ignore format: a line each
      { key: 'order-8', headers: [], value: null },
      { key: 'order-9', headers: [['a', '']], value: 'x=y\\x41\tz' },
      { key: null, headers: [['a', '1']], value: 'null' },
    ]
    expect(
      records.map(({ key, headers, value }) => ({
        key: key?.toString() ?? null,
        headers: headers.map(([name, text]) => [name, text?.toString()]),
        value: value?.toString() ?? null,
      })),
    ).toEqual(expected)
    expect(records.map(({ partition, offset }) => `${partition}/${offset}`)).toEqual(['0/0', '0/1', '0/2', '0/3'])
    for (const { timestamp } of records) expect(timestamp).toBeGreaterThanOrEqual(before)
  })

  it('read_committed leaves out what interleaved transactions on one partition aborted', async () => {
    const topic = await freshTopic()
    const [a, b] = [fresh('a'), fresh('b')]
    await using producers = transactionalProducers()
    const send = (id: string, value: string): Promise<string> => producers.send(id, { topic, value })

    await producers.begin(a)
    await producers.begin(b)
    const offsets = [await send(a, 'a1 aborted'), await send(b, 'b1'), await send(a, 'a2 aborted')]
    expect(offsets).toEqual(['0', '1', '2'])
    await producers.abort(a)
    offsets.push(await send(b, 'b2'))
    await producers.begin(a)
    offsets.push(await send(a, 'a3'))
    await producers.commit(b)
    offsets.push(await send(a, 'a4'))
    await producers.commit(a)
    await producers.begin(b)
    await send(b, 'b3 aborted')
    await producers.abort(b)
    await consoleProducer(topic, ['the end'])

    expect(values(await consoleConsumer(topic, { count: 5 }))).toEqual(['b1', 'b2', 'a3', 'a4', 'the end'])
    expect(values(await consoleConsumer(topic, { count: 8, isolation: 'read_uncommitted' }))).toEqual(
      ['a1 aborted', 'b1', 'a2 aborted', 'b2', 'a3', 'a4', 'b3 aborted', 'the end'], // biome-ignore format: one line
    )
    expect(offsets).toEqual(['0', '1', '2', '4', '5', '7']) // 3 and 6 end transactions
  })

  it('nothing behind a transaction that is open is seen, until it ends', async () => {
    const topic = await freshTopic()
    const [open, other] = [fresh('open'), fresh('other')]
    await using producers = transactionalProducers()
    await producers.begin(other)
    await producers.send(other, {
      topic,
      key: 'k',
      value: Buffer.from([0, 255, 10]),
      headers: [['h', null]],
      timestamp: 7,
    })
    await producers.commit(other)
    await producers.begin(open)
    await producers.send(open, { topic, value: null })
    await producers.begin(other)
    await producers.send(other, { topic, value: 'committed behind it' })
    await producers.commit(other)

    const early = consoleConsumer(topic, { count: 2, timeoutMs: 2000 })
    await expect(early).rejects.toThrow('was to see 2 records')
    await producers.commit(open)
    const records = await consoleConsumer(topic, { count: 3, partition: 0 })
    expect(values(records)).toEqual([Buffer.from([0, 255, 10]).toString(), undefined, 'committed behind it'])
    expect(records[0]).toEqual({
      partition: 0,
      offset: '0',
      timestamp: 7,
      key: Buffer.from('k'),
      headers: [['h', null]],
      value: Buffer.from([0, 255, 10]),
    })
    expect(values(await consoleConsumer(topic, { count: 1, partition: 0, offset: '3' }))).toEqual([
      'committed behind it',
    ])
  })

  it('a second producer with the same transactional id fences the first', async () => {
    const topic = await freshTopic()
    const id = fresh('fenced')
    await using first = transactionalProducers()
    await using second = transactionalProducers()
    await first.begin(id)
    await first.send(id, { topic, value: 'aborted by the fence' })
    await second.begin(id)
    await second.send(id, { topic, value: 'kept' })
    await second.commit(id)
    await expect(first.commit(id)).rejects.toThrow(/ProducerFenced|InvalidProducerEpoch/)
    expect(values(await consoleConsumer(topic, { count: 1 }))).toEqual(['kept'])
  })

  it('what a Java producer refuses rejects its step, and the next one goes on', async () => {
    await using producers = transactionalProducers()
    const id = fresh('wrong')
    await expect(producers.commit(id)).rejects.toThrow('IllegalStateException')
    await producers.begin(fresh('right'))
  })
})
