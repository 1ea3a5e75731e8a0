import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { type MysqlEvents, type MysqlEventsOptions, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import type { StreamOptions } from '../../src/core/stream.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import { errorOf, type Reader, reader } from '../tools/reader.ts'
import { type Database, newDatabase, testDatabase } from './database.ts'

const ROW = "('x', utc_timestamp(6), 1)"

async function insert(database: Database, count: number, into = 'events'): Promise<void> {
  const rows = Array.from({ length: count }, () => ROW).join(', ')
  await database.sql(`insert into ${into} (foreign_id, timestamp, type) values ${rows}`)
}

/** A table of so many rows. */
async function table(
  count: number,
  options: MysqlEventsOptions = {},
): Promise<{ readonly database: Database; readonly events: MysqlEvents }> {
  const database = await testDatabase()
  const events = mysqlEvents(database.pool, options)
  await events.createTable()
  if (count > 0) await insert(database, count)
  return { database, events }
}

/** Purges as if all consumers had read up to this row. */
const purgeUpTo = (events: MysqlEvents, cursor: number): Promise<unknown> =>
  events.purge({ cursors: { list: async () => new Map([['all', String(cursor)]]) } })

async function open({ source }: MysqlEvents, after: string, options: StreamOptions = {}): Promise<Reader> {
  const opened = reader(await source.stream(after, options), after)
  onTestFinished(() => opened[Symbol.asyncDispose]())
  return opened
}

const range = (from: number, to: number): string[] => Array.from({ length: to - from + 1 }, (_, i) => String(from + i))
const idsOf = async (events: Promise<readonly { readonly id: string }[]>): Promise<string[]> =>
  (await events).map(({ id }) => id)

describe('after a purge', () => {
  test('a reader at its last row goes on, and one before it is told that it has missed some', async () => {
    const { events } = await table(10)
    await purgeUpTo(events, 6)
    expect(await idsOf((await open(events, '5', { toHead: true })).rest())).toEqual(range(6, 10))
    expect(await idsOf((await open(events, '', { toHead: true })).rest())).toEqual(range(6, 10))
    expect(await errorOf(open(events, '4'))).toMatchObject({ code: 'CURSOR_TRIMMED', earliest: '6' })
  })

  test('a reader at its last row is refused if what followed was deleted by hand', async () => {
    const { database, events } = await table(10)
    await purgeUpTo(events, 6)
    await database.sql('delete from events where id = 6')
    expect(codeOf(await errorOf(open(events, '5')))).toBe('CURSOR_TRIMMED')
    await database.sql('delete from events')
    expect(codeOf(await errorOf(open(events, '5')))).toBe('CURSOR_AHEAD')
  })

  test('a reader is refused whose own row was deleted by hand, before or behind what was purged', async () => {
    const { database, events } = await table(20)
    await database.sql('delete from events where id in (7, 15)')
    await purgeUpTo(events, 10)
    for (const cursor of ['7', '15']) expect(codeOf(await errorOf(open(events, cursor)))).toBe('CURSOR_TRIMMED')
  })

  test('a stream that waits at the head stays, and so does one that passes over what it does not want', async () => {
    const { database, events } = await table(10)
    const streams = [await open(events, '10'), await open(events, '10', { types: [9] })]
    for (let round = 0; round < 5; round++) {
      const [waiting, filtered] = streams as [Reader, Reader]
      const wanted = waiting.take(20)
      await insert(database, 20)
      await wanted
      while (Number(filtered.cursor) < 30 + 20 * round) expect((await filtered.batch()).events).toEqual([])
      await purgeUpTo(events, 30 + 20 * round)
    }
    expect(await database.sql('select id from events')).toEqual([['110']])
  })

  test('fromHead on an emptied table reads what comes', async () => {
    const { database, events } = await table(10)
    await purgeUpTo(events, 10)
    await database.sql('delete from events')
    const stream = await open(events, '', { fromHead: true })
    expect((await stream.batch()).cursor).toBe('0')
    await insert(database, 2)
    expect(await idsOf(stream.take(2))).toEqual(['11', '12'])
    expect(await idsOf((await open(events, '0', { toHead: true })).rest())).toEqual(['11', '12'])
  })

  test('an account that may not read what was recorded is not told that nothing is missing', async () => {
    const { database, events } = await table(10)
    await purgeUpTo(events, 6)
    const { user, quoted } = await database.account()
    for (const grant of [
      `select, insert on ${database.name}.events`,
      'process on *.*',
      'select on performance_schema.*',
    ]) {
      await database.sql(`grant ${grant} to ${quoted}`)
    }
    if (database.mariadb) await database.sql(`grant slave monitor on *.* to ${quoted}`)
    const limited = mysqlEvents(database.poolOf({ user }))
    expect(codeOf(await errorOf(open(limited, '5')))).toBe('CURSOR_TRIMMED')
    await database.sql(`grant select on ${database.name}.event_purges to ${quoted}`)
    expect(await idsOf((await open(mysqlEvents(database.poolOf({ user })), '5')).take(5))).toEqual(range(6, 10))
  })
})

describe('rows that are deleted by hand before they are read', () => {
  test('end a stream that has not come to them, from the front', async () => {
    const { database, events } = await table(500, { batchSize: 10 })
    const stream = await open(events, '')
    await stream.take(10)
    await database.sql('delete from events where id <= 200')
    expect(await errorOf(stream.take(1))).toMatchObject({ code: 'CURSOR_TRIMMED', cursor: '10', earliest: '201' })
  })

  test('end a stream with toHead that has not come to them, from the end: it is no quiet end', async () => {
    const { database, events } = await table(500, { batchSize: 10 })
    for (const [first, missing] of [
      [16, 500],
      [11, 15],
    ] as const) {
      const stream = await open(events, '', { toHead: true })
      await stream.take(10)
      await database.sql(`delete from events where id >= ${first}`)
      const error = await errorOf(stream.rest())
      expect(error).toMatchObject({ code: 'CURSOR_TRIMMED', cause: { message: `the row ${missing} was deleted` } })
    }
  })

  test('end a stream that has seen them behind an id that was missing, also when others have come since', async () => {
    const { database } = await table(10)
    const late = await database.connect()
    await late.beginTransaction()
    await late.query(`insert into events (foreign_id, timestamp, type) values ${ROW}`)
    await insert(database, 5) // 12 to 16
    const blocked = Promise.withResolvers<void>()
    const told = mysqlEvents(database.pool, { onBlocked: () => blocked.resolve() })
    const stream = await open(told, '10')
    const failing = errorOf(stream.take(7))
    await blocked.promise
    await database.sql('delete from events where id >= 14')
    await insert(database, 3)
    await late.commit()
    expect(codeOf(await failing)).toBe('CURSOR_TRIMMED')
  })

  test('a reader behind the newest row, which was deleted, is refused before and after others have come', async () => {
    const { database, events } = await table(10)
    await database.sql('delete from events where id >= 7')
    expect(codeOf(await errorOf(open(events, '8')))).toBe('CURSOR_AHEAD')
    await insert(database, 5)
    expect(codeOf(await errorOf(open(events, '8')))).toBe('CURSOR_TRIMMED')
  })
})

test('a consumer that was set behind a row that is no event goes on with the next one', async () => {
  const { database, events } = await table(2)
  await database.sql(
    `insert into events (foreign_id, timestamp, type, headers) values ('x', utc_timestamp(6), 1, '[1]')`,
  )
  await insert(database, 2)
  expect(await idsOf((await open(events, '3', { toHead: true })).rest())).toEqual(['4', '5'])
  expect(await idsOf((await open(events, '3')).take(2))).toEqual(['4', '5'])
})

test('the newest rows deleted, and the server restarted: no id comes again, and their reader is refused', async () => {
  const server = await startServer('mysql', { from: ['docker', 'native'] })
  onTestFinished(() => server[Symbol.asyncDispose]())
  const before = await newDatabase(server)
  const events = mysqlEvents(before.pool)
  await events.createTable()
  await insert(before, 10)
  await purgeUpTo(events, 4)
  await before.sql('delete from events where id >= 7')
  await server.process?.kill()
  await server.process?.start()
  const after = await newDatabase(server)
  onTestFinished(() => after[Symbol.asyncDispose]())
  const again = mysqlEvents(after.poolOf({ database: before.name }))
  await insert(after, 10, `${before.name}.events`)
  expect(await after.sql(`select min(id) from ${before.name}.events where id > 6`)).toEqual([['11']])
  expect(codeOf(await errorOf(open(again, '8')))).toBe('CURSOR_TRIMMED')
  expect(codeOf(await errorOf(open(again, '2')))).toBe('CURSOR_TRIMMED')
  expect(await idsOf((await open(again, '3', { toHead: true })).rest())).toEqual([...range(4, 6), ...range(11, 20)])
})

/** One of the readers of a schedule. */
interface Standing {
  cursor: number
  /** Whether a purge knows of it. */
  readonly isRegistered: boolean
}

type Step =
  | { readonly do: 'insert'; readonly count: number; readonly rolledBack: number }
  | { readonly do: 'purge'; readonly stepRows: number }
  | { readonly do: 'delete'; readonly end: 'front' | 'tail'; readonly at: number }
  | { readonly do: 'read'; readonly reader: number; readonly count: number }
  /** The one that no purge knows of reads up to the last row that a purge may take. */
  | { readonly do: 'trail' }

const kinds = {
  insert: fc.record({ count: fc.integer({ min: 1, max: 8 }), rolledBack: fc.nat({ max: 2 }) }),
  purge: fc.record({ stepRows: fc.integer({ min: 1, max: 10 }) }),
  delete: fc.record({ end: fc.constantFrom('front', 'tail'), at: fc.integer({ min: 1, max: 12 }) }),
  read: fc.record({ reader: fc.nat({ max: 2 }), count: fc.integer({ min: 1, max: 12 }) }),
  trail: fc.record({}),
}
const weights = { insert: 4, purge: 4, delete: 1, read: 7, trail: 2 }
const step = fc.oneof(
  ...Object.entries(kinds).map(([kind, arbitrary]) => ({
    weight: weights[kind as keyof typeof kinds],
    arbitrary: arbitrary.map((each) => ({ do: kind, ...each }) as Step),
  })),
)

/** In which a reader stands where a purge has ended, goes on, and is overtaken by the next one; and one loses rows by hand. */
const known: Step[] = [
  { do: 'insert', count: 8, rolledBack: 2 },
  { do: 'insert', count: 8, rolledBack: 1 },
  { do: 'read', reader: 0, count: 9 },
  { do: 'read', reader: 1, count: 12 },
  { do: 'trail' },
  { do: 'purge', stepRows: 3 },
  { do: 'read', reader: 2, count: 1 },
  { do: 'read', reader: 0, count: 5 },
  { do: 'purge', stepRows: 3 },
  { do: 'read', reader: 2, count: 1 },
  { do: 'delete', end: 'front', at: 3 },
  { do: 'read', reader: 1, count: 1 },
]

describe('any order of inserts, purges, deletes by hand and reads', () => {
  let database: Database
  beforeAll(async () => {
    database = await newDatabase()
  })
  afterAll(() => database[Symbol.asyncDispose]())

  test('a reader is refused if, and only if, rows went that it had not read', async () => {
    let count = 0
    const met = { refused: 0, atPurged: 0 }
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 15, maxLength: 30 }), async (steps) => {
        const play = await startPlay(database, `t${++count}`)
        for (const each of steps) await play(each, met)
      }),
      { numRuns: 9, examples: [[known]] },
    )
    expect(met.refused).toBeGreaterThan(0)
    expect(met.atPurged).toBeGreaterThan(0)
  })
})

/** Plays steps on a table of its own, and checks what each of its readers is told. */
async function startPlay(
  database: Database,
  name: string,
): Promise<(step: Step, met: { refused: number; atPurged: number }) => Promise<void>> {
  const events = mysqlEvents(database.pool, { table: name, batchSize: 5 })
  await events.createTable()
  const writer = await database.connect()
  const committed: number[] = [] // all that ever were
  const byHand = new Set<number>()
  const readers: Standing[] = [true, true, false].map((isRegistered) => ({ cursor: 0, isRegistered }))
  const there = async (): Promise<Set<number>> =>
    new Set((await database.sql(`select id from ${name} order by id`)).map(([id]) => Number(id)))
  const into = `insert into ${name} (foreign_id, timestamp, type) values`

  const read = async (
    standing: Standing,
    wanted: number,
    met: { refused: number; atPurged: number },
  ): Promise<void> => {
    const now = await there()
    const { cursor } = standing
    const unread = committed.filter((id) => id > cursor)
    const left = unread.filter((id) => now.has(id))
    const isLost = left.length < unread.length
    const after = cursor === 0 ? '' : String(cursor)
    const outcome = await (async () => {
      await using stream = reader(await events.source.stream(after, { toHead: true }), after)
      return wanted < left.length ? await stream.take(wanted) : await stream.rest()
    })().catch((error: unknown) => ({ error }))
    const code = 'error' in outcome ? codeOf(outcome.error) : undefined
    if ('error' in outcome && code === undefined) throw outcome.error
    if (cursor > 0 && !now.has(cursor)) {
      if (isLost) expect(code).toMatch(/CURSOR_(TRIMMED|AHEAD)/)
      else if (!byHand.has(cursor)) {
        met.atPurged++
        expect(code).toBe(undefined)
      }
    } else expect(code).toBe(undefined) // from its own row on only those are missing that look as if they were rolled back
    if ('error' in outcome) {
      met.refused++
      standing.cursor = 0
      return
    }
    expect(outcome.map(({ id }) => Number(id))).toEqual(left.slice(0, outcome.length))
    expect(outcome).toHaveLength(Math.min(wanted, left.length))
    standing.cursor = Number(outcome.at(-1)?.id ?? cursor)
  }

  const purge = async (stepRows: number): Promise<void> => {
    const before = await there()
    const cursors = memoryCursors()
    for (const [i, { cursor }] of readers.entries()) await cursors.reset(`reader ${i}`, String(cursor))
    const registered = readers.filter(({ isRegistered }) => isRegistered).map(({ cursor }) => cursor)
    const isMissing = (cursor: number): boolean => cursor > 0 && !before.has(cursor)
    const outcome = await events
      .purge({ cursors, except: ['reader 2'], stepRows, pauseMs: 0 })
      .catch((error: unknown) => ({ error }))
    const now = await there()
    const gone = [...before].filter((id) => !now.has(id))
    if ('error' in outcome) {
      if (codeOf(outcome.error) === undefined) throw outcome.error
      expect([registered.some(isMissing), gone]).toEqual([true, []])
      return
    }
    expect(gone).toHaveLength(outcome.removed)
    const bound = Math.min(...registered, Math.max(0, ...before))
    expect(gone).toEqual([...before].filter((id) => id < bound))
  }

  return async (each, met) => {
    switch (each.do) {
      case 'insert': {
        if (each.rolledBack > 0) {
          await writer.beginTransaction()
          await writer.query(`${into} ${Array.from({ length: each.rolledBack }, () => ROW).join(', ')}`)
          await writer.rollback()
        }
        await writer.query(`${into} ${Array.from({ length: each.count }, () => ROW).join(', ')}`)
        for (const id of await there()) if (id > (committed.at(-1) ?? 0)) committed.push(id)
        return
      }
      case 'delete': {
        const all = [...(await there())]
        const gone = each.end === 'front' ? all.slice(0, each.at) : all.slice(Math.max(0, all.length - each.at))
        for (const id of gone) byHand.add(id)
        if (gone.length > 0) await database.sql(`delete from ${name} where id in (${gone.join(', ')})`)
        return
      }
      case 'purge':
        return purge(each.stepRows)
      case 'trail': {
        const [{ cursor: a }, { cursor: b }, trailing] = readers as [Standing, Standing, Standing]
        const now = await there()
        const count = [...now].filter((id) => id > trailing.cursor && id < Math.min(a, b)).length
        return count > 0 ? read(trailing, count, met) : undefined
      }
      case 'read':
        return read(readers[each.reader] as Standing, each.count, met)
    }
  }
}
