import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, inject, it, onTestFinished } from 'vitest'
import type { Event } from '../../src/core/event.ts'
import { parseConfig } from '../../src/service/config/parse-config.ts'
import { startRoute } from '../../src/service/start-route.ts'
import { newFolder } from '../cli/command.ts'
import { sqliteLog } from '../cli/logs.ts'
import { testAdmin } from '../jetstream/fixture.ts'
import { partitionsOf, testClient } from '../kafka/fixture.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { natsHeadersOf } from '../subjects/nats-admin.ts'

/** A table, and a route from it that leaves out what its module does not want, with names for the types. */
function ordersTo(sink: object) {
  const folder = newFolder()
  writeFileSync(
    join(folder, 'own.ts'),
    'export const transform = (event: { foreignId: string }) => event.foreignId.startsWith("test") ? undefined : event',
  )
  const log = sqliteLog()
  const orders = {
    ...{ source: { url: log.url }, sink, transform: './own.ts', types: [1, 2] },
    typeNames: { 1: 'order.created', 2: 'order.paid' },
    cloudEvents: { source: '/shop' },
    headers: { entity: '{foreignId}' },
    key: '{headers.customer}',
  }
  const text = JSON.stringify({ createTables: true, routes: { orders } })
  const [route] = parseConfig(text, { title: 'test', folder, environment: {} }).routes
  const insert = (type: number, foreignId: string): Promise<void> =>
    log.append([
      { type, foreignId, headers: { customer: `c-${foreignId}` }, metadata: Buffer.from('{}'), timestamp: 0 },
    ])
  return {
    insert,
    /** Forwards what is there, and tells how many events were, and were not. */
    forward: async (): Promise<{ reason: string; handled: number; skipped: number }> => {
      const counts = { handled: 0, skipped: 0 }
      const observer = {
        progress: (since: { handled: number; skipped: number }): void => {
          counts.handled += since.handled
          counts.skipped += since.skipped
        },
      }
      const { signal } = new AbortController()
      if (route === undefined) throw new Error('there is no route')
      const { reason } = await startRoute(route, { signal, once: true, createTables: true, observer }).ended
      return { reason, ...counts }
    },
  }
}

it('goes to the subjects of NATS that its template says, as CloudEvents, and without what is left out', async () => {
  const stream = fresh('orders')
  const { url } = inject('servers').nats
  const admin = await testAdmin(url)
  const { insert, forward } = ordersTo({
    url,
    stream,
    subject: `${stream}.{typeName}.{headers.entity}`,
  })
  for (const [type, id] of [
    [1, 'o.1'],
    [3, 'o.1'],
    [2, 'o.1'],
    [1, 'test'],
  ] as const)
    await insert(type, id)
  expect(await forward()).toEqual({ reason: 'head', handled: 2, skipped: 2 })
  await insert(3, 'last') // a tail that is left out
  expect(await forward()).toEqual({ reason: 'head', handled: 0, skipped: 1 })
  await insert(2, 'o.2')
  expect(await forward()).toEqual({ reason: 'head', handled: 1, skipped: 0 })

  const stored = await admin.messages(stream)
  expect(stored.map(({ subject }) => subject.slice(stream.length + 1))).toEqual([
    'order.created.o%2E1',
    'order.paid.o%2E1',
    'order.paid.o%2E2',
  ])
  expect(Object.fromEntries(stored[0] ? natsHeadersOf(stored[0]) : [])).toMatchObject({
    'ce-id': '1',
    'ce-source': '/shop',
    'ce-specversion': '1.0',
    'ce-type': 'order.created',
    'ce-time': '1970-01-01T00:00:00.000000Z',
    'ce-subject': 'o.1',
    'ce-datacontenttype': 'application/json',
    'reflex-foreign-id': 'c-o.1',
  })
})

it('goes to the topics of Kafka that its template says, as CloudEvents', async () => {
  const name = fresh('orders')
  const brokers = inject('servers').kafka.url
  const topics = [`${name}.order.created`, `${name}.order.paid`]
  const checkpointTopic = fresh('checkpoints')
  const admin = testClient().admin()
  onTestFinished(async () => {
    await admin.connect()
    await admin.deleteTopics({ topics: [...topics, checkpointTopic] })
    await admin.disconnect()
  })
  const to = { url: `kafka://${brokers}`, topic: `${name}.{typeName}`, topics, checkpointTopic, partitions: 1 }
  const { insert, forward } = ordersTo(to)
  for (const [type, id] of [
    [1, 'a'],
    [2, 'a'],
    [1, 'b'],
  ] as const)
    await insert(type, id)
  expect(await forward()).toEqual({ reason: 'head', handled: 3, skipped: 0 })
  await insert(2, 'b')
  expect(await forward()).toEqual({ reason: 'head', handled: 1, skipped: 0 })

  const found = await Promise.all(topics.map(async (topic) => (await partitionsOf(topic, brokers, 1)).flat()))
  const lines = (events: readonly Event[]) =>
    events.map(({ foreignId, headers }) => [headers['ce_id'], headers['ce_type'], headers['ce_subject'], foreignId])
  expect(found.map(lines)).toEqual([
    [
      ['1', 'order.created', 'a', 'c-a'],
      ['3', 'order.created', 'b', 'c-b'],
    ],
    [
      ['2', 'order.paid', 'a', 'c-a'],
      ['4', 'order.paid', 'b', 'c-b'],
    ],
  ])
})
