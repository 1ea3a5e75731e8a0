import type { DatabaseSync } from 'node:sqlite'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openSqlite, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { wireNames } from '../../src/core/wire.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { newFile } from './new-file.ts'

function openNew(): { database: DatabaseSync; sink: ReturnType<typeof sqliteSink> } {
  const database = openSqlite(newFile())
  onTestFinished(() => database.close())
  const sink = sqliteSink(database)
  sink.createTable()
  return { database, sink }
}

const events = (...numbers: number[]): Event[] =>
  numbers.map((n) => ({ id: String(n), type: 1, foreignId: `e${n}`, timestamp: n, metadata: null, headers: {} }))

async function sourceIds(database: DatabaseSync): Promise<unknown[]> {
  await using all = reader(await sqliteEvents(database).source.stream('', { toHead: true }))
  return (await all.rest()).map(({ headers }) => headers[wireNames.sourceId])
}

describe('a route', () => {
  test('shares its table with other routes, with routes of its name into other tables, and with the application', async () => {
    const { database, sink } = openNew()
    const other = sqliteSink(database, { table: 'others' })
    other.createTable()
    await using a = await sink.open({ route: 'a', source: 'x' })
    await using b = await sink.open({ route: 'b', source: 'y' })
    await using c = await other.open({ route: 'a', source: 'z' })
    expect(await a.append(events(1, 2), '2')).toBe('2')
    expect(sqliteEvents(database).insert(database, { type: 1, foreignId: 'own' }).ids).toEqual(['3'])
    expect(await b.append(events(1), '1')).toBe('4')
    expect(await c.append(events(7), '7')).toBe('1')
    expect(await a.append(events(3), '3')).toBe('5')
    expect(await sourceIds(database)).toEqual(['1', '2', undefined, '1', '3'])
    await using again = await sink.open({ route: 'a', source: 'x', saved: { cursor: '3', mark: '5' } })
    expect([again.resumeFrom, again.repair]).toEqual(['3', undefined])
  })

  test('of another source is refused: its cursor would mean nothing', async () => {
    const { sink } = openNew()
    await using writer = await sink.open({ route: 'a', source: 'x' })
    expect(codeOf(await errorOf(sink.open({ route: 'a', source: 'y' })))).toBe('OPTION_INVALID')
    expect(await writer.append(events(1), '1')).toBe('1') // nobody took it over
  })

  test('whose checkpoint is of another kind of destination is refused', async () => {
    const { sink } = openNew()
    const saved = { cursor: '3', mark: '1700000000000-0' }
    expect(codeOf(await errorOf(sink.open({ route: 'a', source: 'x', saved })))).toBe('CURSOR_INVALID')
  })

  test('without an event in the table starts at its checkpoint', async () => {
    const { sink } = openNew()
    await using writer = await sink.open({ route: 'a', source: 'x', saved: { cursor: '40', mark: '0' } })
    expect([writer.resumeFrom, writer.repair]).toEqual(['40', undefined])
  })

  test('does not mind that retention has removed its events', async () => {
    const { database, sink } = openNew()
    await using writer = await sink.open({ route: 'a', source: 'x' })
    const saved = { cursor: '3', mark: await writer.append(events(1, 2, 3), '3') }
    database.exec('delete from events')
    await using again = await sink.open({ route: 'a', source: 'x', saved })
    expect([again.resumeFrom, again.repair]).toEqual(['3', undefined])
    expect(await again.append(events(4), '4')).toBe('4')
  })

  test('whose newest rows were removed by hand is refilled with them, and says so, once', async () => {
    const { database, sink } = openNew()
    await using writer = await sink.open({ route: 'a', source: 'x' })
    sqliteEvents(database).insert(database, { type: 1, foreignId: 'own' })
    const saved = { cursor: '9', mark: await writer.append(events(1, 2, 3, 4), '9') } // others are filtered out
    sqliteEvents(database).insert(database, { type: 1, foreignId: 'own' })
    database.exec('delete from events where id in (4, 5)')
    for (const _ of ['', 'after a crash']) {
      await using again = await sink.open({ route: 'a', source: 'x', saved })
      expect(again.resumeFrom).toBe('2')
      expect(again.repair).toMatch(/rows of this route after row 3 were removed .* row 5: .* after event 2/)
    }
    await using again = await sink.open({ route: 'a', source: 'x', saved })
    expect(await again.append([], '2')).toBe('3')
    await again.append(events(3, 4), '9')
    expect(await sourceIds(database)).toEqual([undefined, '1', '2', undefined, '3', '4'])
    await using last = await sink.open({ route: 'a', source: 'x', saved: { cursor: '9', mark: '8' } })
    expect([last.resumeFrom, last.repair]).toEqual(['9', undefined])
  })

  test('whose newest rows are removed while it is at work appends nothing until it is opened again', async () => {
    const { database, sink } = openNew()
    await using writer = await sink.open({ route: 'a', source: 'x' })
    const saved = { cursor: '3', mark: await writer.append(events(1, 2, 3), '3') }
    await writer.append([], '3')
    database.exec('delete from events where id > 1')
    const changed = { code: 'SINK_TAIL_CHANGED', retriable: true }
    expect(await errorOf(writer.append([], '3'))).toMatchObject(changed)
    await using again = await sink.open({ route: 'a', source: 'x', saved })
    expect(again.resumeFrom).toBe('1')
    await again.append(events(2, 3, 4), '4')

    database.exec('delete from events') // by retention
    expect(await errorOf(again.append(events(5), '5'))).toMatchObject(changed)
    await using last = await sink.open({ route: 'a', source: 'x', saved: { cursor: '4', mark: '6' } })
    expect([last.resumeFrom, last.repair]).toEqual(['4', undefined])
    await last.append([], '4')
    await last.append(events(5), '5')
    await last.append([], '5')
    expect(await sourceIds(database)).toEqual(['5'])
  })

  test.for([
    ['an older copy of the file', "delete from events where id > 1; update routes set cursor = '1', mark = 1"],
    ['an empty file', 'delete from events; delete from routes'],
    ['rows that were removed by hand', 'delete from events where id > 1'],
  ] as const)(
    'that has lost more than maxRefill is refused, and fences nobody, until that is raised (%s)',
    async ([, lose]) => {
      const { database } = openNew()
      await using writer = await sqliteSink(database).open({ route: 'a', source: 'x' })
      const saved = { cursor: '4', mark: await writer.append(events(1, 2, 3, 4), '4') }
      database.exec(lose)
      const lost = lose.includes('id > 1') ? 3 : 4
      const epochs = (): unknown => database.prepare('select epoch from routes').all()
      const before = epochs()
      const refusing = sqliteSink(database, { maxRefill: lost - 1 })
      expect(await errorOf(refusing.open({ route: 'a', source: 'x', saved }))).toMatchObject({
        code: 'SINK_LOST_TOO_MUCH',
        retriable: false,
        message: expect.stringMatching(new RegExp(`up to ${lost}, .* give the sink the option maxRefill: ${lost}$`)),
      })
      expect(epochs()).toEqual(before)
      await using again = await sqliteSink(database, { maxRefill: lost }).open({ route: 'a', source: 'x', saved })
      expect(again.resumeFrom).toBe(lost === 3 ? '1' : '')
    },
  )

  test('does not take the rows of others for lost ones of its own', async () => {
    const { database } = openNew()
    const sink = sqliteSink(database, { maxRefill: 1 })
    await using a = await sink.open({ route: 'a', source: 'x' })
    await a.append(events(1), '1')
    for (let i = 0; i < 5; i++) sqliteEvents(database).insert(database, { type: 1, foreignId: 'own' })
    const saved = { cursor: '2', mark: await a.append(events(2), '2') }
    database.exec('delete from events where id = 7')
    await using again = await sink.open({ route: 'a', source: 'x', saved })
    expect(again.resumeFrom).toBe('1')
  })

  test.for([-1, 1.5, Number.NaN])('maxRefill of %s is refused', (maxRefill) => {
    const { database } = openNew()
    expect(() => sqliteSink(database, { maxRefill })).toThrow('maxRefill must be an integer from 0 on')
  })

  test('that shares its source with another one in the table is not refilled: whose the rest is, nobody can tell', async () => {
    const { database, sink } = openNew()
    await using a = await sink.open({ route: 'a', source: 'x' })
    await using b = await sink.open({ route: 'b', source: 'x' })
    await b.append(events(7), '7')
    const saved = { cursor: '3', mark: await a.append(events(1, 2, 3), '3') }
    database.exec('delete from events where id = 4')
    await using again = await sink.open({ route: 'a', source: 'x', saved })
    expect([again.resumeFrom, again.repair]).toEqual(['3', undefined])
  })

  test('whose table is dropped while it writes is waited for', async () => {
    const { database, sink } = openNew()
    await using writer = await sink.open({ route: 'a', source: 'x' })
    database.exec('drop table events')
    const errors = [await errorOf(writer.append(events(1), '1')), await errorOf(sink.open({ route: 'a', source: 'x' }))]
    for (const error of errors) expect(error).toMatchObject({ code: 'TABLE_MISSING', retriable: true })
    sink.createTable()
    await using again = await sink.open({ route: 'a', source: 'x' })
    await again.append(events(1), '1')
    expect(await sourceIds(database)).toEqual(['1'])
  })

  test.for([
    ['empty', 0],
    ['shorter', 1],
    ['refilled by others', 5],
  ] as const)('whose table was made anew without its record, and is %s, is refused', async ([, refilled]) => {
    const { database, sink } = openNew()
    await using writer = await sink.open({ route: 'a', source: 'x' })
    const saved = { cursor: '3', mark: await writer.append(events(1, 2, 3), '3') }
    database.exec('drop table events')
    sink.createTable()
    const own = sqliteEvents(database)
    for (let i = 0; i < refilled; i++) own.insert(database, { type: 1, foreignId: 'own' })
    const error = await errorOf(sink.open({ route: 'a', source: 'x', saved }))
    expect(error).toMatchObject({ code: 'DESTINATION_REPLACED', retriable: false })
  })

  test('whose checkpoint was lost goes on from its own record', async () => {
    const { database, sink } = openNew()
    await using writer = await sink.open({ route: 'a', source: 'x' })
    await writer.append(events(1, 2), '2')
    await using again = await sink.open({ route: 'a', source: 'x' })
    expect(again.resumeFrom).toBe('2')
    expect(again.repair).toMatch(/beyond the checkpoint/)
    await again.append(events(3), '3')
    expect(await sourceIds(database)).toEqual(['1', '2', '3'])
  })
})

test('events whose cursor cannot be written are not written either', async () => {
  const { database, sink } = openNew()
  await using writer = await sink.open({ route: 'a', source: 'x' })
  database.exec("create trigger refuse before update on routes begin select raise(abort, 'no'); end")
  expect(await errorOf(writer.append(events(1, 2), '2'))).toMatchObject({ message: expect.stringContaining('no') })
  expect(await sourceIds(database)).toEqual([])
})

test('a writer that has failed appends nothing more, so that no batch is skipped', async () => {
  const { database, sink } = openNew()
  await using writer = await sink.open({ route: 'a', source: 'x' })
  database.exec("create trigger refuse before insert on events begin select raise(abort, 'no'); end")
  expect(await errorOf(writer.append(events(1), '1'))).toMatchObject({ message: expect.stringContaining('no') })
  database.exec('drop trigger refuse')
  expect(codeOf(await errorOf(writer.append(events(2), '2')))).toBe('WRITER_DEAD')
  expect(await sourceIds(database)).toEqual([])
})

test("headers of the wire are this bridge's own; the others are kept, whatever they are called", async () => {
  const { database, sink } = openNew()
  await using writer = await sink.open({ route: 'a', source: 'x' })
  const headers = JSON.parse('{"__proto__":"p","constructor":["c","d"],"reflex-type":"9","reflex-source":"elsewhere"}')
  await writer.append(
    events(1).map((event) => ({ ...event, headers })),
    '1',
  )
  await using all = reader(await sqliteEvents(database).source.stream('', { toHead: true }))
  const [read] = await all.rest()
  expect(Object.entries(read?.headers ?? {}).sort()).toEqual([
    ['__proto__', 'p'],
    ['constructor', ['c', 'd']],
    ['reflex-source', 'x'],
    ['reflex-source-id', '1'],
  ])
})
