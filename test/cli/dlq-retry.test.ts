import { appendFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createConnection } from 'mysql2/promise'
import { expect, it, onTestFinished } from 'vitest'
import { sqliteEvents } from '../../src/adapters/sqlite/index.ts'
import type { NewEvent } from '../../src/core/event.ts'
import { loadConfig } from '../../src/service/config/load-config.ts'
import type { RouteConfig } from '../../src/service/config/parse-config.ts'
import { routeLetters } from '../../src/service/route-letters.ts'
import { errorOf } from '../tools/reader.ts'
import { jsonLines, newFolder, run, start } from './command.ts'
import { forwardAll } from './forward-all.ts'
import { eventsIn, mysqlLog, sqliteLog, type TestLog } from './logs.ts'

const retriedId = 'reflex-retried-id'

/** Fails at payloads that begin with `poison`, until there is a file `mended`. */
const transform = `
import { existsSync } from 'node:fs'
export function transform(event) {
  const fails = Buffer.from(event.metadata).toString().startsWith('poison')
  if (fails && !existsSync(new URL('mended', import.meta.url))) throw new Error('no such customer')
  return event
}
`

/** A folder with `bridge.yaml` and the route `orders` from a log, into the table `log` of `log.db`. */
function shop({ url }: Pick<TestLog, 'url'>, letters: string = url): string {
  const cwd = newFolder()
  writeFileSync(join(cwd, 'own.mjs'), transform)
  const ends = `source: { url: '${url}' }, sink: { url: sqlite:log.db, table: log }, deadLetters: { url: '${letters}' }`
  const route = `{ ${ends}, transform: ./own.mjs }`
  writeFileSync(join(cwd, 'bridge.yaml'), `createTables: true\nroutes:\n  orders: ${route}\n`)
  return cwd
}

const event = (foreignId: string, text: string): NewEvent => ({ type: 1, foreignId, metadata: Buffer.from(text) })
const mend = (cwd: string): void => writeFileSync(join(cwd, 'mended'), '')

const sent = async (cwd: string): Promise<string[]> => {
  const events = await eventsIn(sqliteEvents(join(cwd, 'log.db'), { table: 'log' }).source)
  return events.map(({ metadata }) => Buffer.from(metadata ?? []).toString())
}

it.each(['SQLite', 'MySQL'])(
  'writes letters to the source anew, by foreignId in order, and a route at work sends them (%s)',
  async (kind) => {
    const log = kind === 'MySQL' ? await mysqlLog() : sqliteLog()
    await log.append([event('a', 'poison 1'), event('b', '2'), event('a', '3'), event('c', 'poison 4')])
    const cwd = shop(log)
    const running = start(['run', 'bridge.yaml'], { cwd })
    await running.printed(/event 4 is put into the dead letters/)
    await running.printed(/event 3 is put into the dead letters/)
    mend(cwd)
    /** The checkpoint passes the last letter a moment after that is told. */
    const retry = async (...args: string[]): ReturnType<typeof run> => {
      const ended = await run(['dlq', 'retry', 'bridge.yaml', 'orders', ...args], { cwd })
      return ended.stdout.includes('has not passed') ? retry(...args) : ended
    }

    const late = await retry('3', '77', '--json')
    const progress = expect.stringMatching(/^(\d+ letters so far, .*\n)*$/) // each second
    expect(late).toMatchObject({ code: 1, stderr: progress })
    expect(jsonLines(late.stdout)).toMatchObject([
      { route: 'orders', eventId: '3', foreignId: 'a', retried: false, code: 'EVENT_HELD_BACK' },
      { route: 'orders', eventId: '77', retried: false },
    ])
    const first = await retry('1', '--json')
    expect(first).toMatchObject({ code: 0, stderr: progress })
    const told = jsonLines(first.stdout)
    expect(told).toMatchObject([
      { route: 'orders', eventId: '1', foreignId: 'a', retried: true },
      { route: 'orders', eventId: '3', foreignId: 'a', retried: true },
    ])
    const rest = await retry()
    expect(rest).toMatchObject({ code: 0, stderr: progress })
    expect(rest.stdout).toMatch(/^orders: event 4 is written to the source anew, as event \d+\n$/)

    await expect.poll(() => sent(cwd), { timeout: 10_000 }).toHaveLength(4)
    running.child.kill('SIGTERM')
    await running.ended
    expect(await sent(cwd)).toEqual(['2', 'poison 1', '3', 'poison 4'])
    const copies = (await log.read()).slice(4)
    expect(copies.map(({ headers }) => headers[retriedId])).toEqual(['1', '3', '4'])
    expect(copies.slice(0, 2).map(({ id }) => id)).toEqual(told.map(({ newId }) => newId))
    expect(await run(['verify', 'bridge.yaml'], { cwd })).toMatchObject({ code: 0 })
  },
)

it('has each event in the source once more after kill -9, Ctrl-C and two processes at once, and tells all that it did before Ctrl-C', async () => {
  const log = await mysqlLog()
  const count = 60
  await log.append(Array.from({ length: count }, (_, i) => event(`k${i}`, `poison ${i + 1}`)))
  const cwd = shop(log)
  await forwardAll(join(cwd, 'bridge.yaml'))
  const copies = async (): Promise<string[]> =>
    (await log.read()).slice(count).map(({ headers }) => headers[retriedId] as string)
  const retry = ['dlq', 'retry', 'bridge.yaml', 'orders', '--json']

  const other = await createConnection({ uri: log.url })
  onTestFinished(() => other.end())
  /** Holds up whoever comes to the letter of an event, until the transaction ends. */
  const hold = async (eventId: string): Promise<void> => {
    await other.beginTransaction()
    await other.query("select id from dead_letters where consumer = 'orders' and event_id = ? for update", [eventId])
  }

  await hold('20')
  const stopped = start(retry, { cwd })
  await stopped.printed(/"eventId":"19"/)
  stopped.child.kill('SIGINT')
  await other.commit()
  const { code, stdout, stderr } = await stopped.ended
  expect([code, stderr]).toEqual([130, expect.stringContaining('stopped')])
  const done = await copies()
  expect(done).toEqual(jsonLines(stdout).map(({ eventId }) => eventId))
  expect(done.length).toBeLessThan(count)

  await hold(String(count))
  const killed = start(retry, { cwd })
  await killed.printed(new RegExp(`"eventId":"${count - 1}"`)) // and so in the transaction of the last
  const last = start(retry, { cwd })
  killed.child.kill('SIGKILL')
  expect((await killed.ended).code).toBe(137)
  await other.commit()
  expect(await last.ended).toMatchObject({ code: 0 })
  await run(retry, { cwd })
  const all = Array.from({ length: count }, (_, i) => String(i + 1))
  expect((await copies()).toSorted()).toEqual(all.toSorted())
  expect((await run(['dlq', 'list', 'bridge.yaml'], { cwd })).stdout).toBe('orders: no dead letter is open\n')
})

it('refuses where source and letters are not in one database server or file, and says what to do', async () => {
  const log = sqliteLog()
  await log.append([event('a', 'poison 1')])
  const cwd = shop(log, 'sqlite:letters.db')
  await forwardAll(join(cwd, 'bridge.yaml'))
  const { code, stdout, stderr } = await run(['dlq', 'retry', 'bridge.yaml', 'orders'], { cwd })
  expect([code, stdout]).toEqual([2, ''])
  expect(stderr).toMatch(/expected a table of MySQL .*found the source sqlite:.*letters\.db.*then drop the letter/)

  const server = await mysqlLog()
  const elsewhere = shop(server, server.url.replace('127.0.0.1', 'localhost'))
  await forwardAll(join(elsewhere, 'bridge.yaml'))
  const { routes } = await loadConfig(join(elsewhere, 'bridge.yaml'), {})
  await using letters = await routeLetters(routes[0] as RouteConfig, { readOnly: false })
  const other = await errorOf(letters.retry({ signal: AbortSignal.timeout(10_000) }).next())
  expect(other).toMatchObject({ code: 'OPTION_INVALID', message: expect.stringContaining('at the same host and port') })
})

it('leaves a letter of a Go service, which has no event, retries the others, and tells who gets them as well', async () => {
  const server = await mysqlLog()
  await server.append([event('a', 'poison 1'), event('b', 'poison 2')])
  const cwd = shop(server)
  await forwardAll(join(cwd, 'bridge.yaml'))
  const connection = await createConnection({ uri: server.url })
  await connection.query('update dead_letters set event = null where event_id = 1')
  await connection.end()
  const audit = `  audit: { source: { url: '${server.url}' }, sink: { url: sqlite:log.db, table: audit } }\n`
  appendFileSync(join(cwd, 'bridge.yaml'), audit)
  const { code, stdout, stderr } = await run(['dlq', 'retry', 'bridge.yaml', 'orders', '--json'], { cwd })
  expect([code, stderr]).toEqual([1, 'routes from the same source get the events too: audit\n'])
  expect(jsonLines(stdout)).toMatchObject([
    { eventId: '1', retried: false, code: 'LETTER_EMPTY' },
    { eventId: '2', foreignId: 'b', retried: true },
  ])
})
