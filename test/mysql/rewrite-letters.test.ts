import fc from 'fast-check'
import type { Pool } from 'mysql2/promise'
import { expect, test } from 'vitest'
import { eventColumns } from '../../src/adapters/mysql/event-columns.ts'
import { mysqlDeadLetters, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { rewriteLetters } from '../../src/adapters/mysql/rewrite-letters.ts'
import { openSqlite, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { parseCheckpoint } from '../../src/bridge/checkpoint.ts'
import { systemClock } from '../../src/core/clock.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { type RewriteLetters, type Rewritten, retriedHeaders } from '../../src/sql/rewrite-letters.ts'
import { eventsIn } from '../cli/logs.ts'
import { arbitraryEvent, comparable } from '../tools/arbitrary-event.ts'
import { errorOf, within } from '../tools/reader.ts'
import { type Database, testDatabase } from './database.ts'
import { lossyPool } from './lossy-pool.ts'

interface Stage {
  readonly database: Database
  readonly events: ReturnType<typeof mysqlEvents>
  readonly letters: ReturnType<typeof mysqlDeadLetters>
  readonly rewrite: RewriteLetters
  /** As another process would. */
  rewriteThrough(pool: Pool): RewriteLetters
  head(): Promise<string>
  /** Inserts events of these foreignIds, each with a payload of its own, and makes them letters of `r`; resolves with their ids. */
  putAside(...foreignIds: readonly string[]): Promise<string[]>
}

async function stage(): Promise<Stage> {
  const database = await testDatabase()
  const events = mysqlEvents(database.pool)
  await events.createTable()
  const letters = mysqlDeadLetters(database.pool)
  await letters.createTable()
  const source = { database: database.name, table: 'events', columns: eventColumns() }
  const rewriteThrough = (pool: Pool): RewriteLetters =>
    rewriteLetters(pool, { letters: { table: 'consumer_errors' }, source })
  let made = 0
  return {
    ...{ database, events, letters, rewriteThrough, rewrite: rewriteThrough(database.pool) },
    head: async () => (await events.source.head?.()) as string,
    putAside: async (...foreignIds) => {
      const added = foreignIds.map((foreignId): NewEvent => {
        made++
        return { type: 1, foreignId, metadata: Buffer.from(`payload ${made}`), timestamp: 1_700_000_000_000 + made }
      })
      const ids = await events.append(...added)
      for (const [i, event] of added.entries())
        await letters.record('r', new Error('refused'), { headers: {}, ...event, id: ids[i] as string } as Event)
      return ids
    },
  }
}

/** What was written anew: the old ids of each foreignId, in the order of the source. */
async function copiesIn({ events }: Pick<Stage, 'events'>): Promise<Record<string, string[]>> {
  const copies = (await eventsIn(events.source)).filter(({ headers }) => headers[retriedHeaders.id] !== undefined)
  const idsOf = (key: string): string[] =>
    copies.filter(({ foreignId }) => foreignId === key).map(({ headers }) => headers[retriedHeaders.id] as string)
  return Object.fromEntries(copies.map(({ foreignId }) => [foreignId, idsOf(foreignId)]))
}

test('writes every kind of event anew as it is, at the time of now, with the id and the time that it had', async () => {
  const { events, letters, rewrite, head } = await stage()
  let count = 0
  const play = async (given: Required<NewEvent>): Promise<void> => {
    const [id = ''] = await events.append(given)
    const consumer = `consumer ${count++}`
    await letters.record(consumer, new Error('x'), { ...given, id })
    const after = await head()
    const [done] = await rewrite({ consumer, foreignId: given.foreignId, passed: after })
    expect(done?.eventId).toBe(id)
    const [copy] = (await eventsIn(events.source)).filter((each) => each.id === done?.newId)
    const { timestamp, headers, ...rest } = copy as Event
    const { [retriedHeaders.id]: oldId, [retriedHeaders.timestamp]: oldTime, ...others } = headers
    expect(comparable({ ...rest, headers: others, timestamp: given.timestamp })).toEqual(comparable(given))
    expect([oldId, Date.parse(oldTime as string)]).toEqual([id, Math.floor(given.timestamp)])
    expect(Math.abs(timestamp - Date.now())).toBeLessThan(60_000)
    expect(await letters.list({ consumer })).toEqual([])
  }
  await fc.assert(fc.asyncProperty(arbitraryEvent(), play), { numRuns: 15, seed: 1, endOnFailure: true })
})

test('has the trace in its column, and no header of its own, where a table of luno/reflex has no headers', async () => {
  const { database, events, letters, rewrite, head } = await stage()
  await database.sql('alter table events drop headers, add trace blob null')
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  const event = { type: 1, foreignId: 'a', timestamp: 0, metadata: null, headers: { traceparent } }
  const [id = ''] = await events.append(event)
  await letters.record('r', new Error('x'), { ...event, id })
  await rewrite({ consumer: 'r', foreignId: 'a', passed: await head() })
  expect(await eventsIn(events.source)).toMatchObject([{ id, headers: { traceparent } }, { headers: { traceparent } }])
})

test('retries a letter again that is one once more, and keeps where it first came from', async () => {
  const { events, letters, rewrite, putAside, head } = await stage()
  const [id = ''] = await putAside('a')
  for (const _ of ['first', 'second']) {
    const [done] = await rewrite({ consumer: 'r', foreignId: 'a', passed: await head() })
    const copy = (await eventsIn(events.source)).at(-1) as Event
    expect([copy.id, copy.headers[retriedHeaders.id]]).toEqual([done?.newId, id])
    await letters.record('r', new Error('still'), copy)
  }
  expect((await eventsIn(events.source)).length).toBe(3)
})

test('whatever statement a process dies at, and however often it is repeated, each event is in the source once more, in order', async () => {
  const staged = await stage()
  const { database, letters, putAside, rewrite, rewriteThrough, head } = staged
  const play = async (keys: readonly string[], deaths: readonly (readonly [number, 'before' | 'after'])[]) => {
    await database.sql('truncate table events')
    await database.sql('delete from consumer_errors')
    const ids = await putAside(...keys)
    const passed = await head()
    const all = async (by: RewriteLetters): Promise<void> => {
      for (const foreignId of new Set(keys)) await by({ consumer: 'r', foreignId, passed })
    }
    for (const [at, how] of deaths) {
      let statements = 0
      await all(rewriteThrough(lossyPool(database.pool, () => (statements++ === at ? how : undefined)))).catch(() => {})
      const done = await copiesIn(staged)
      const open = (await letters.list()).map(({ eventId }) => eventId)
      expect([...Object.values(done).flat(), ...open].toSorted()).toEqual(ids.toSorted()) // one of the two, at any time
    }
    await all(rewrite)
    await all(rewrite)
    const expected = Object.groupBy(ids, (_, i) => keys[i] as string)
    expect(await copiesIn(staged)).toEqual({ ...expected })
    expect(await letters.list()).toEqual([])
  }
  const fates = fc.tuple(
    fc.array(fc.constantFrom('a', 'b', 'A'), { minLength: 1, maxLength: 4 }),
    fc.array(fc.tuple(fc.nat({ max: 30 }), fc.constantFrom<'before' | 'after'>('before', 'after')), { maxLength: 4 }),
  )
  await fc.assert(
    fc.asyncProperty(fates, ([keys, deaths]) => play(keys, deaths)),
    { numRuns: 15, seed: 1, endOnFailure: true },
  )
})

test('of several at once, and with one of the letters dropped meanwhile, each letter is written once at most', async () => {
  const staged = await stage()
  const { database, letters, putAside, rewriteThrough, head } = staged
  const keys = Array.from({ length: 40 }, (_, i) => `k${i % 8}`)
  const ids = await putAside(...keys)
  const passed = await head()
  const all = async (): Promise<Rewritten[]> => {
    const rewrite = rewriteThrough(database.poolOf({}))
    const done: Rewritten[] = []
    for (const foreignId of new Set(keys)) done.push(...(await rewrite({ consumer: 'r', foreignId, passed })))
    return done
  }
  const [last] = (await letters.list()).filter(({ eventId }) => eventId === ids.at(-1))
  const told = (await Promise.all([all(), all(), all(), letters.resolve(last?.id ?? '').then(() => [])])).flat()
  const copies = Object.values(await copiesIn(staged)).flat()
  expect(copies.toSorted()).toEqual(told.map(({ eventId }) => eventId).toSorted())
  expect(new Set(copies).size).toBe(copies.length)
  expect(copies.length).toBeGreaterThanOrEqual(keys.length - 1)
  expect(await letters.list()).toEqual([])
})

test('refuses a letter before an older one of its foreignId, and takes those that wait for it along', async () => {
  const staged = await stage()
  const { rewrite, putAside, head } = staged
  const [a1 = '', b1 = '', a2 = ''] = await putAside('a', 'b', 'a')
  const passed = await head()
  const options = { consumer: 'r', foreignId: 'a', passed }
  const error = await errorOf(rewrite({ ...options, chosen: new Set([a2]) }))
  expect(error).toMatchObject({ code: 'EVENT_HELD_BACK', message: expect.stringContaining(`event ${a1} is open`) })
  expect(await rewrite({ ...options, chosen: new Set([b1]) })).toEqual([])
  expect(await copiesIn(staged)).toEqual({})
  expect((await rewrite({ ...options, chosen: new Set([a1]) })).map(({ eventId }) => eventId)).toEqual([a1, a2])
})

test('refuses while the route has not passed an event of the foreignId, committed or not, and waits for nobody', async () => {
  const { database, events, rewrite, putAside, head } = await stage()
  const [first = ''] = await putAside('a', 'a')
  const passed = await head()
  const options = { consumer: 'r', foreignId: 'a' }
  for (const early of ['', first])
    expect(codeOf(await errorOf(rewrite({ ...options, passed: early })))).toBe('LETTER_IN_USE')
  await using connection = await database.pool.getConnection()
  await connection.beginTransaction()
  const { ids } = await events.insert(connection, { type: 1, foreignId: 'A' }, { type: 1, foreignId: 'a' })
  const open = await errorOf(rewrite({ ...options, passed }))
  expect(open).toMatchObject({ code: 'LETTER_IN_USE', message: expect.stringContaining(`event ${ids[1]}`) })
  await connection.commit()
  expect(codeOf(await errorOf(rewrite({ ...options, passed })))).toBe('LETTER_IN_USE')
  expect(await rewrite({ ...options, passed: await head() })).toHaveLength(2)
})

test('says which privilege the account of the letters lacks on the source, and leaves all as it is', async () => {
  const { database, letters, putAside, rewriteThrough, head } = await stage()
  await putAside('a')
  const { user, quoted } = await database.account()
  await database.sql(`grant select, update on ${database.name}.consumer_errors to ${quoted}`)
  await database.sql(`grant select on ${database.name}.events to ${quoted}`)
  const rewrite = rewriteThrough(database.poolOf({ user }))
  const options = { consumer: 'r', foreignId: 'a', passed: await head() }
  const error = await errorOf(rewrite(options))
  expect(error).toMatchObject({ code: 'MYSQL_DENIED', message: expect.stringMatching(/INSERT command denied/) })
  await database.sql(`grant insert on ${database.name}.events to ${quoted}`)
  expect(await rewrite(options)).toHaveLength(1)
  expect(await letters.list()).toEqual([])
})

test('a bridge at work sends what was retried once, in order, and makes no letter of it, while others write the same foreignIds', async () => {
  const { events, letters, rewrite } = await stage()
  const into = openSqlite(':memory:')
  const sink = sqliteSink(into, { table: 'log' })
  sink.createTable()
  const checkpoints = memoryCursors()
  const poison = new Set(['1', '4'])
  const transform = (event: Event): Event => {
    if (poison.has(event.id)) throw new Error('no such customer')
    return event
  }
  const stop = new AbortController()
  const spec = { name: 'r', source: events.source, sink, checkpoints, transform, deadLetters: letters }
  const running = bridge(spec, { signal: stop.signal })
  const passed = async (): Promise<string> => parseCheckpoint('r', await checkpoints.get('r'))?.cursor ?? ''
  const until = (what: string, is: () => Promise<boolean>): Promise<void> =>
    within(
      (async () => {
        while (!(await is())) await systemClock.sleep(5)
      })(),
      10_000,
      what,
    )
  const texts: string[] = []
  const write = async (foreignId: string): Promise<void> => {
    const text = `${foreignId} ${texts.push(foreignId)}`
    await events.append({ type: 1, foreignId, metadata: Buffer.from(text) })
  }
  const keys = ['a', 'b', 'c']
  for (let i = 0; i < 12; i++) await write(keys[i % 3] as string)
  await until('the first', async () => (await passed()) === '12')
  expect((await letters.list()).map(({ eventId }) => eventId)).toEqual(['1', '4', '7', '10'])

  let writing = true
  const writer = (async () => {
    for (let i = 0; writing; i++) {
      await write(keys[i % 3] as string)
      await systemClock.sleep(10)
    }
  })()
  await until('more letters', async () => (await letters.list()).length > 8)
  let done: readonly Rewritten[] = []
  await until('a retry', async () => {
    try {
      done = await rewrite({ consumer: 'r', foreignId: 'a', passed: await passed() })
    } catch (error) {
      if (codeOf(error) !== 'LETTER_IN_USE') throw error
    }
    return done.length > 0
  })
  const enough = texts.length + 20
  await until('more events', async () => texts.length > enough)
  writing = false
  await writer
  await until('the rest', async () => (await passed()) === (await events.source.head?.()))
  stop.abort()
  await running
  expect(done.slice(0, 4).map(({ eventId }) => eventId)).toEqual(['1', '4', '7', '10'])
  expect(await letters.list()).toEqual([])
  const sent = (await eventsIn(sqliteEvents(into, { table: 'log' }).source)).map(({ metadata }) =>
    Buffer.from(metadata ?? []).toString(),
  )
  expect(sent.toSorted()).toEqual(texts.map((key, i) => `${key} ${i + 1}`).toSorted())
  const order = (key: string): number[] =>
    sent.filter((text) => text.startsWith(key)).map((text) => Number(text.slice(2)))
  for (const key of keys) expect(order(key)).toEqual(order(key).toSorted((x, y) => x - y))
})

test('an event that is inserted between two parts of the copies is not overtaken by the second: nothing is written', async () => {
  const { database, events, head, putAside, rewriteThrough } = await stage()
  await putAside(...Array.from({ length: 30 }, () => 'a'))
  const passed = await head()
  let inserts = 0
  const rewrite = rewriteThrough(
    lossyPool(database.pool, (sql) => {
      if (!/insert .*into/is.test(sql) || !sql.includes('`events`') || ++inserts !== 2) return undefined
      return events.append({ type: 1, foreignId: 'a' }).then(() => undefined)
    }),
  )
  const options = { consumer: 'r', foreignId: 'a', passed }
  expect(codeOf(await errorOf(rewrite(options)))).toBe('LETTER_IN_USE')
  expect(inserts).toBe(2)
  expect((await eventsIn(events.source)).length).toBe(31)
  expect((await rewriteThrough(database.pool)({ ...options, passed: await head() })).length).toBe(30)
})
