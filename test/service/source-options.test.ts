import { createPool } from 'mysql2/promise'
import { expect, inject, it, onTestFinished } from 'vitest'
import { mysqlEvents, mysqlOptions } from '../../src/adapters/mysql/index.ts'
import { openStream } from '../../src/core/stream.ts'
import { parseConfig, type RouteConfig } from '../../src/service/config/parse-config.ts'
import { newFolder } from '../cli/command.ts'
import { fresh, mysqlLog } from '../cli/logs.ts'
import { testClient } from '../redis/fixture.ts'
import { eventually } from '../tools/reader.ts'
import { forward } from './mysql-route.ts'

function routeFrom(source: object): RouteConfig {
  const text = JSON.stringify({ routes: { orders: { source, sink: { url: 'sqlite:log.db' } } } })
  return parseConfig(text, { title: 'test', folder: newFolder(), environment: {} }).routes[0] as RouteConfig
}

it('a source in MySQL fills the ids of rollbacks where the configuration says so', async () => {
  const { url, append } = await mysqlLog()
  const pool = createPool({ ...mysqlOptions, uri: url })
  onTestFinished(() => pool.end())
  await append([{ type: 1, foreignId: 'a' }])
  const connection = await pool.getConnection()
  await connection.beginTransaction()
  await mysqlEvents(pool).insert(connection, { type: 1, foreignId: 'rolled back' })
  await connection.rollback()
  connection.release()
  await append([{ type: 1, foreignId: 'a' }])
  await forward(routeFrom({ url, gaps: 'fill' }))
  const [rows] = await pool.query('select id, type, foreign_id from events order by id')
  expect(rows).toMatchObject([
    { id: '1', type: 1 },
    { id: '2', type: 0, foreign_id: '0' },
    { id: '3', type: 1 },
  ])
})

it('a source hears its notifier for as long as a stream is open, and is told of one that is lost', async () => {
  const { url, append } = await mysqlLog()
  await append([{ type: 1, foreignId: 'a' }])
  const redis = testClient(inject('servers').redis.url)
  const channel = fresh('hints')
  const subscribers = async (): Promise<number> => Number((await redis.pubsub('NUMSUB', channel))[1])
  const listen = async (notifier: object): Promise<{ readonly notes: string[]; close(): Promise<void> }> => {
    const notes: string[] = []
    const context = {
      createTables: false,
      readOnly: true,
      note: (text: string) => /notifier/.test(text) && notes.push(text),
    }
    const source = await routeFrom({ url, notifier }).source.open(context)
    const stream = await openStream(source.part.stream, '', {})
    const reading = stream[Symbol.asyncIterator]()
    await reading.next()
    const waiting = reading.next().catch(() => {})
    return {
      notes,
      close: async () => {
        await stream[Symbol.asyncDispose]()
        await waiting
        await source[Symbol.asyncDispose]()
      },
    }
  }
  const heard = await listen({ url: inject('servers').redis.url, channel })
  await eventually(async () => (await subscribers()) === 1, 5000, 'the subscription')
  await heard.close()
  await eventually(async () => (await subscribers()) === 0, 5000, 'its end')
  expect(heard.notes).toEqual([])

  const lost = await listen({ url: 'nats://127.0.0.1:1', subject: channel })
  await eventually(() => lost.notes.length > 0, 10_000, 'the note')
  expect(lost.notes[0]).toMatch(/^the notifier of the source has failed, .* every 250 ms .*no connection to the server/)
  await lost.close()
})
