import { describe, expect, inject, onTestFinished, test } from 'vitest'
import { type KafkaSinkOptions, kafkaSink } from '../../src/adapters/kafka/index.ts'
import { topicRoute } from '../../src/adapters/kafka/topic-route.ts'
import { codeOf, messageOf } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import type { Checkpoint, SinkWriter } from '../../src/core/sink.ts'
import { wireNames } from '../../src/core/wire.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf } from '../tools/reader.ts'
import { adapterClient, partitionsOf, type TopicAdmin, topicAdmin } from './fixture.ts'
import { events, idsOf, pump, refusalOf, SOURCE } from './sink-route.ts'

const event = events(1)[0] as Event

describe('the options topic and topics', () => {
  test('are one topic, or several by a template or a function', () => {
    expect(topicRoute('orders', undefined)).toMatchObject({ name: 'orders', topics: ['orders'], only: 'orders' })
    const byTemplate = topicRoute('orders.{type}', ['orders.1', 'orders.2', 'orders.1'])
    expect(byTemplate).toMatchObject({ name: 'orders.{type}', topics: ['orders.1', 'orders.2'], only: undefined })
    expect(byTemplate.of({ ...event, type: 2 })).toBe('orders.2')
    const byFunction = topicRoute({ name: 'orders', of: ({ type }: Event) => (type === 1 ? 'a' : 'b') }, ['a', 'b'])
    expect([byFunction.name, byFunction.of({ ...event, type: 7 })]).toEqual(['orders', 'b'])
  })

  test.each<[unknown, unknown, RegExp]>([
    ['', undefined, /topic must be a name, a template like orders\.\{type\}, or a name and a function|not empty/],
    [7, ['a'], /topic must be a name, a template/],
    [{ name: 'x' }, ['a'], /topic must be a name, a template/],
    ['orders', ['orders'], /topics go with a topic that is a template or a function, but it is orders/],
    ['orders.{type}', undefined, /kafka:orders\.\{type\}: topics must be a list of all topics that events may go to/],
    ['orders.{type}', [], /topics must be a list/],
    ['orders.{type}', ['a/b'], /topics must be a list/],
    ['orders.{tpye}', ['a'], /kafka: topic may hold .* but there is \{tpye\}/],
  ])('%j with %j is refused', (topic, topics, message) => {
    expect(() => topicRoute(topic, topics)).toThrow(message)
  })

  test('may not lead to the topic of the checkpoints', () => {
    const options = { topic: 'x.{type}', topics: ['x.1', 'c'], checkpointTopic: 'c' }
    expect(() => kafkaSink(adapterClient(), options)).toThrow(/must not be in one topic/)
  })
})

/** Several topics, and a route into them. */
interface Routed {
  readonly name: string
  readonly topics: readonly string[]
  readonly admins: readonly TopicAdmin[]
  readonly checkpointTopic: string
  open(saved?: Checkpoint, options?: Partial<KafkaSinkOptions>): Promise<SinkWriter>
  /** The source ids, by topic and partition. */
  ids(): Promise<string[][][]>
}

/** Topics `<name>.1` and so on, which are deleted with the test. */
async function routed(count = 3, partitions = 2): Promise<Routed> {
  const [name, checkpointTopic] = [fresh('out'), fresh('checkpoints')]
  const topics = Array.from({ length: count }, (_, i) => `${name}.${i + 1}`)
  const admins: TopicAdmin[] = []
  for (const topic of topics) admins.push(await topicAdmin(topic, { partitions }))
  onTestFinished(async () => {
    await admins[0]?.admin.deleteTopics({ topics: [checkpointTopic] }).catch(() => {}) // it may never have been made
    for (const each of admins) await each[Symbol.asyncDispose]()
  })
  return {
    ...{ name, topics, admins, checkpointTopic },
    open: async (saved, options = {}) => {
      const where = { topic: `${name}.{type}`, topics, checkpointTopic }
      const sink = kafkaSink(adapterClient(), { ...where, ...options })
      const writer = await sink.open({ route: 'r', source: SOURCE, saved })
      onTestFinished(() => writer[Symbol.asyncDispose]())
      return writer
    },
    ids: () =>
      Promise.all(
        topics.map(async (topic) =>
          (await partitionsOf(topic, inject('servers').kafka.url, partitions)).map((records) =>
            records.map(({ headers }) => String(headers[wireNames.sourceId])),
          ),
        ),
      ),
  }
}

/** Events of the types 1 to `types` in turn. */
const typed = (count: number, types = 3, from = 1): Event[] =>
  events(count, { from }).map((each) => ({ ...each, type: 1 + (Number(each.id) % types) }))

/** Each event once, in the topic of its type, and in order in each partition. */
function expectRouted(found: string[][][], all: readonly Event[]): void {
  for (const [i, partitions] of found.entries()) {
    const wanted = idsOf(all.filter(({ type }) => type === i + 1))
    for (const ids of partitions) expect(ids).toEqual(ids.toSorted((a, b) => Number(a) - Number(b)))
    expect(partitions.flat().sort((a, b) => Number(a) - Number(b))).toEqual(wanted)
  }
}

describe('a route into several topics', () => {
  test('has each event once, in order, through a crash and a second writer', async () => {
    const { open, ids } = await routed()
    const all = typed(40)
    const first = await open()
    const saved = await pump(first, all, 15)
    await first.append(all.slice(15, 20), '20') // its checkpoint is not saved
    const second = await open(saved)
    expect([second.resumeFrom, second.repair]).toEqual(['20', undefined])
    expect(codeOf(await errorOf(first.append(all.slice(20, 25), '25')))).toBe('FENCED')
    await pump(second, all)
    expectRouted(await ids(), all)
    expect((await open()).resumeFrom).toBe('40')
  })

  test('refills the topic that was made anew, and no other', async () => {
    const { open, ids, admins } = await routed()
    const all = typed(24)
    const writer = await open()
    const saved = await pump(writer, all, 18)
    await admins[0]?.recreate() // where the last of the first events went
    expect(codeOf(await errorOf(writer.append([], '18')))).toMatch(/^(SINK_TAIL_CHANGED|KAFKA_)/)
    const after = await open(saved)
    expect(after.repair).toMatch(/made anew: refilling 6 events.*; 12 events that are there are not appended again/)
    await pump(after, all)
    expectRouted(await ids(), all)
  })

  test('may have a topic added, and refuses events of one that is not there yet before anything is appended', async () => {
    const { open, ids, topics } = await routed()
    const two = { topics: topics.slice(0, 2) }
    const all = [...typed(10, 2), ...typed(10, 3, 11)]
    const saved = await pump(await open(undefined, two), all, 10)
    const error = await errorOf((await open(saved, two)).append(all.slice(9, 20), '20'))
    expect(error).toMatchObject({ code: 'EVENT_UNROUTABLE', eventId: '11', kind: 'poison' })
    expect(messageOf(error)).toMatch(/event 11 goes to "\S+\.3", but the topics are \S+\.1, \S+\.2: add it to them/)
    const after = await open(saved)
    expect([after.resumeFrom, after.repair]).toEqual(['10', undefined])
    await pump(after, all)
    expectRouted(await ids(), all)
  })

  test('is refused where a topic has another number of partitions, which it names', async () => {
    const { open, topics, admins } = await routed(2)
    const saved = await pump(await open(), typed(9, 2))
    await admins[1]?.admin.createPartitions({ topicPartitions: [{ topic: topics[1] as string, count: 4 }] })
    const error = await refusalOf(() => open(saved))
    expect(codeOf(error)).toBe('SINK_PARTITIONS_CHANGED')
    expect(messageOf(error)).toMatch(/the topic \S+\.2 had 2 partitions and has 4 now/)
    expect((await open(saved, { partitions: 4 })).resumeFrom).toBe('9')
  })

  test('without transactions looks up what is there in all of them', async () => {
    const { open, ids } = await routed()
    const all = typed(20)
    const first = await open(undefined, { delivery: 'at-least-once' })
    const saved = await pump(first, all, 10)
    await first.append(all.slice(10, 15), '15') // its checkpoint is not saved
    await pump(await open(saved, { delivery: 'at-least-once' }), all)
    expectRouted(await ids(), all)
  })

  test('creates its topics', async () => {
    const topics = [fresh('new'), fresh('new')]
    const { admins, checkpointTopic } = await routed(1)
    onTestFinished(() => admins[0]?.admin.deleteTopics({ topics: [...topics] }))
    const to = { name: 'both', of: ({ id }: Event) => topics[Number(id) % 2] as string }
    const sink = kafkaSink(adapterClient(), { topic: to, topics, checkpointTopic })
    expect(codeOf(await errorOf(sink.open({ route: 'r', source: SOURCE })))).toBe('KAFKA_UNKNOWN_TOPIC_OR_PARTITION')
    await sink.createTopic()
    const writer = await sink.open({ route: 'r', source: SOURCE })
    onTestFinished(() => writer[Symbol.asyncDispose]())
    await writer.append(typed(4), '4')
    expect(await writer.append([], '4')).toMatch(/^4\/[\w-]{22}$/)
    const idsIn = async (topic: string): Promise<(readonly string[] | string | undefined)[]> =>
      (await partitionsOf(topic, undefined, 1)).flat().map(({ headers }) => headers[wireNames.sourceId])
    expect(await Promise.all(topics.map(idsIn))).toEqual([
      ['2', '4'],
      ['1', '3'],
    ])
  })

  test('says which event is too large, and for which of them', async () => {
    const { open, topics, ids } = await routed(2)
    const writer = await open()
    const large = { ...typed(1, 2, 3)[0], metadata: Buffer.alloc(2_000_000) } as Event
    const error = await errorOf(writer.append([...typed(2, 2), large], '3'))
    expect(codeOf(error)).toBe('EVENT_TOO_LARGE')
    expect(messageOf(error)).toContain(`the topic ${topics[1]}`)
    expectRouted(await ids(), [])
  })
})
