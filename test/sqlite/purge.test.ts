import type { DatabaseSync } from 'node:sqlite'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openSqlite, type SqliteEvents, sqliteCursors, sqliteEvents } from '../../src/adapters/sqlite/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { newFile } from './new-file.ts'

interface Table {
  readonly database: DatabaseSync
  readonly events: SqliteEvents
  readonly cursors: ReturnType<typeof sqliteCursors>
  ids(): number[]
}

/** A table of so many rows, in a file or in memory, and a store in which consumers have these cursors. */
async function table(path: string, count: number, read: Readonly<Record<string, string>>): Promise<Table> {
  const database = openSqlite(path)
  onTestFinished(() => database.close())
  const events = sqliteEvents(database)
  events.createTable()
  if (count > 0) events.insert(database, ...numbered(count))
  const cursors = sqliteCursors(database)
  cursors.createTable()
  for (const [name, cursor] of Object.entries(read)) await cursors.reset(name, cursor)
  const ids = () =>
    database
      .prepare('select id from events order by id')
      .all()
      .map(({ id }) => Number(id))
  return { database, events, cursors, ids }
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)

async function readAll({ source }: SqliteEvents, after: string): Promise<number[]> {
  await using all = reader(await source.stream(after, { toHead: true }), after)
  return (await all.rest()).map(({ id }) => Number(id))
}

describe.each(['a file', 'memory'])('purge of a table in %s', (place) => {
  const make = (count: number, read: Readonly<Record<string, string>>): Promise<Table> =>
    table(place === 'memory' ? ':memory:' : newFile(), count, read)

  test('removes what every consumer has read, but for the row of each cursor, and readers know what is missing', async () => {
    const { database, events, cursors, ids } = await make(3000, { slow: '1200', fast: '3000' })
    expect(await events.purge({ cursors, pauseMs: 0 })).toEqual({ removed: 1199, to: '1199', heldBy: 'slow' })
    expect(ids()).toEqual(range(1200, 3000))
    for (const after of ['1199', '1200']) expect((await readAll(events, after)).at(0)).toBe(Number(after) + 1)
    expect(codeOf(await errorOf(readAll(events, '1198')))).toBe('CURSOR_TRIMMED')
    database.exec('delete from events where id = 1200')
    expect(codeOf(await errorOf(readAll(events, '1199')))).toBe('CURSOR_TRIMMED')
    expect(codeOf(await errorOf(events.purge({ cursors })))).toBe('CURSOR_TRIMMED')
    await cursors.reset('slow', '3000')
    await events.purge({ cursors, pauseMs: 0 })
    expect(ids()).toEqual([3000])
  })

  test('keeps what is younger than keepMs, and changes nothing in a dry run', async () => {
    const { database, events, cursors, ids } = await make(0, {})
    for (const age of [3000, 2000, 10, 2500, 0]) {
      events.insert(database, { type: 1, foreignId: 'x', timestamp: Date.now() - age * 1000 })
    }
    await cursors.reset('a', '5')
    const expected = { removed: 2, to: '2', heldBy: 'a' }
    expect(await events.purge({ cursors, keepMs: 1_000_000, dryRun: true })).toEqual(expected)
    expect(ids()).toEqual(range(1, 5))
    expect(await events.purge({ cursors, keepMs: 1_000_000 })).toEqual(expected)
    expect(ids()).toEqual([3, 4, 5])
  })

  test('is refused for a consumer that is unknown', async () => {
    const { events, cursors, ids } = await make(10, { a: '8' })
    const elsewhere = { list: async () => new Map([['b', '5']]) }
    for (const options of [{ cursors, consumers: ['b'] }, { cursors: elsewhere }, { cursors, stepRows: 0 }]) {
      expect(codeOf(await errorOf(events.purge(options)))).toBe('OPTION_INVALID')
    }
    expect(ids()).toHaveLength(10)
    expect(await events.purge({ cursors: [cursors, elsewhere] })).toMatchObject({ removed: 4, heldBy: 'b' })
  })
})

test('two purges at once, beside a writer and a reader: nothing is lost', async () => {
  const { database, events, cursors } = await table(newFile(), 5000, { a: '4000', b: '5000' })
  const options = { cursors, stepRows: 50, pauseMs: 0 }
  const purges = Promise.all([events.purge(options), events.purge(options)])
  const stream = reader(await events.source.stream('4000', {}), '4000')
  onTestFinished(() => stream[Symbol.asyncDispose]())
  const read = stream.take(2000)
  for (let i = 0; i < 100; i++) {
    events.insert(database, ...numbered(10))
    await new Promise(setImmediate)
  }
  expect((await read).map(({ id }) => Number(id))).toEqual(range(4001, 6000))
  const [first, second] = await purges
  expect(first.removed + second.removed).toBe(3999)
})
