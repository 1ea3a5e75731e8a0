import fc from 'fast-check'
import type { Pool } from 'mysql2/promise'
import { describe, expect, test } from 'vitest'
import { type MysqlCursors, type MysqlCursorsOptions, mysqlCursors } from '../../src/adapters/mysql/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { errorOf } from '../tools/reader.ts'
import { type Database, testDatabase } from './database.ts'
import { type Loss, lossyPool } from './lossy-pool.ts'

/** What a Go service runs, luno/reflex with synchronous cursors: it moves a cursor forward only. */
function goService(
  database: Database,
  names: { readonly table: string; readonly id: string; readonly cursor: string; readonly time: string },
): { get(consumer: string): Promise<unknown>; set(consumer: string, cursor: string): Promise<void> } {
  const { table, id, cursor, time } = names
  return {
    get: async (consumer) =>
      (await database.sql(`select ${cursor} from ${table} where ${id} = ?`, [consumer]))[0]?.[0] ?? '',
    set: async (consumer, next) => {
      const { affectedRows } = (await database.sql(
        `update ${table} set ${cursor} = ?, ${time} = now() where ${id} = ? and ${cursor} < ?`,
        [next, consumer, next],
      )) as unknown as { affectedRows: number }
      if (affectedRows === 1) return
      await database.sql(`insert into ${table} set ${id} = ?, ${cursor} = ?, ${time} = now()`, [consumer, next])
    },
  }
}

const reflexTable = (type: string, { id, cursor, time }: { id: string; cursor: string; time: string }): string =>
  `(${id} varchar(255) not null, ${cursor} ${type} not null, ${time} datetime not null, primary key (${id}))`
const plainNames = { table: 'cursors', id: 'id', cursor: 'last_event_id', time: 'updated_at' }
const IS_RESET = /ALTER TABLE `\w+` ADD is_reset tinyint\(1\) NOT NULL DEFAULT 0/

describe.each(['bigint', 'varchar(255)'])('a table of luno/reflex with %s cursors', (type) => {
  const names = { table: 'positions', id: 'consumer', cursor: 'seen', time: 'seen_at' }
  const options: MysqlCursorsOptions = {
    table: 'positions',
    columns: { id: 'consumer', cursor: 'seen', updatedAt: 'seen_at' },
  }

  test('is shared with Go services, whatever its columns are called', async () => {
    const database = await testDatabase()
    await database.sql(`create table positions ${reflexTable(type, names)}`)
    const cursors = mysqlCursors(database.pool, options)
    const error = await errorOf(cursors.get('ours'))
    expect([codeOf(error), (error as { retriable?: boolean }).retriable]).toEqual(['TABLE_LAYOUT', false])
    await database.sql(IS_RESET.exec(String(error))?.[0] ?? 'the statement that mends it is missing')

    const go = goService(database, names)
    await go.set('theirs', '7')
    await go.set('both', '99')
    expect(await cursors.get('theirs')).toBe('7')
    await cursors.set('ours', '41', '')
    await cursors.set('both', '100', '99')
    expect(String(await go.get('both'))).toBe('100')
    await go.set('ours', '42')
    expect(await cursors.get('ours')).toBe('42')
    expect(codeOf(await errorOf(cursors.set('ours', '43', '41')))).toBe('CURSOR_CONFLICT')
    expect(await cursors.list?.()).toEqual(
      new Map([
        ['both', '100'],
        ['ours', '42'],
        ['theirs', '7'],
      ]),
    )
    const [[age]] = (await database.sql(
      "select abs(timestampdiff(second, seen_at, utc_timestamp())) from positions where consumer = 'both'",
    )) as [[string | number]]
    expect(Number(age)).toBeLessThan(60)
  })

  test('keeps "" and 0 apart, and resets', async () => {
    const database = await testDatabase()
    await database.sql(`create table cursors ${reflexTable(type, plainNames)}`)
    await database.sql('alter table cursors add is_reset tinyint(1) not null default 0')
    const cursors = mysqlCursors(database.pool)
    await cursors.set('a', '0', '')
    expect(codeOf(await errorOf(cursors.set('a', '1', '')))).toBe('CURSOR_CONFLICT')
    await cursors.set('a', '1', '0')
    await cursors.reset('a', '')
    expect(await cursors.get('a')).toBe('')
    expect(await errorOf(cursors.set('a', '2', '1'))).toMatchObject({ actual: '', reset: true })
    await cursors.set('a', '2', '')
    expect(await cursors.list?.()).toEqual(new Map([['a', '2']]))
  })

  test('takes names that its collation takes for the same as no other ones, and never writes over another', async () => {
    const database = await testDatabase()
    await database.sql(`create table cursors ${reflexTable(type, plainNames)} collate utf8mb4_general_ci`)
    await database.sql('alter table cursors add is_reset tinyint(1) not null default 0')
    const cursors = mysqlCursors(database.pool)
    await cursors.set('mailer', '5', '')
    expect(await cursors.get('Mailer')).toBe('')
    expect(codeOf(await errorOf(cursors.set('Mailer', '9', '')))).toBe('TABLE_LAYOUT')
    expect(codeOf(await errorOf(cursors.reset('MAILER', '9')))).toBe('TABLE_LAYOUT')
    expect(await cursors.list?.()).toEqual(new Map([['mailer', '5']]))
  })
})

describe('what a column cannot hold is refused', () => {
  /** Cursors in a column of that type, through a session that would change what does not fit. */
  async function laxCursors(type: string): Promise<MysqlCursors> {
    const database = await testDatabase()
    await database.sql(`create table cursors ${reflexTable(type, plainNames)}`)
    await database.sql('alter table cursors add is_reset tinyint(1) not null default 0')
    const pool = database.poolOf({ connectionLimit: 1 })
    const connection = await pool.getConnection()
    await connection.query("set session sql_mode = ''")
    connection.release()
    return mysqlCursors(pool)
  }

  test('in one of integers, with any sql_mode: what is none, or would come back as another', async () => {
    const cursors = await laxCursors('bigint')
    for (const cursor of ['1-0', '7@x', '01', '-1', '1.5', ' 1', '1e3', String(2n ** 63n)]) {
      for (const attempt of [
        () => cursors.set('a', cursor, ''),
        () => cursors.reset('a', cursor),
        () => cursors.set('a', '1', cursor),
      ]) {
        expect(codeOf(await errorOf(attempt()))).toBe('OPTION_INVALID')
      }
    }
    const exact = [String(2n ** 53n + 1n), String(2n ** 63n - 1n)]
    let last = ''
    for (const cursor of exact) {
      await cursors.set('a', cursor, last)
      expect(await cursors.get('a')).toBe(cursor)
      last = cursor
    }
  })

  test('in one that is short: nothing is cut off', async () => {
    const cursors = await laxCursors('varchar(20)')
    expect(String(await errorOf(cursors.set('a', 'x'.repeat(21), '')))).toContain('at most 20 characters')
    await cursors.set('a', 'x'.repeat(20), '')
    expect(await cursors.get('a')).toBe('x'.repeat(20))
  })

  test.each(['int', 'bigint unsigned', 'double', 'varbinary(255)'])('of the type %s: every cursor', async (type) => {
    const database = await testDatabase()
    await database.sql(`create table cursors ${reflexTable(type, plainNames)}`)
    await database.sql('alter table cursors add is_reset tinyint(1) not null default 0')
    const error = await errorOf(mysqlCursors(database.pool).get('a'))
    expect([codeOf(error), String(error)]).toEqual([
      'TABLE_LAYOUT',
      expect.stringContaining(`but it is ${type.split(' ')[0]}`),
    ])
  })

  test('columns that are missing, and names that are none', async () => {
    const database = await testDatabase()
    await mysqlCursors(database.pool).createTable()
    const columns = { cursor: 'position' }
    expect(codeOf(await errorOf(mysqlCursors(database.pool, { columns }).get('a')))).toBe('TABLE_LAYOUT')
    expect(() => mysqlCursors(database.pool, { columns: { id: 'a`b' } })).toThrow('column name')
    expect(() => mysqlCursors(database.pool, { columns: { position: 'a' } as never })).toThrow('position')
  })

  test('connections that are not in autocommit mode', async () => {
    const database = await testDatabase()
    await mysqlCursors(database.pool).createTable()
    const pool = database.poolOf({ connectionLimit: 1 })
    const connection = await pool.getConnection()
    await connection.query('set autocommit = 0')
    connection.release()
    expect(String(await errorOf(mysqlCursors(pool).set('a', '1', '')))).toContain('autocommit')
  })
})

test('a table made with other names of columns has them', async () => {
  const database = await testDatabase()
  const options = { table: 'positions', columns: { id: 'consumer', cursor: 'seen', updatedAt: 'seen_at' } }
  const cursors = mysqlCursors(database.pool, options)
  await cursors.createTable()
  await cursors.set('a', 'x'.repeat(4096), '')
  const [row] = await database.sql('select consumer, length(seen), is_reset from positions')
  expect(row?.map(String)).toEqual(['a', '4096', '0'])
})

describe('whichever rows are counted as affected', () => {
  // Found, as mysql2 asks for, or changed, as the server does by itself.
  test.each(['+FOUND_ROWS', '-FOUND_ROWS'])(
    'a set of what is there already succeeds, and no other does: %s',
    async (flag) => {
      const database = await testDatabase()
      // Within a second, the time of a save is the same as that of the one before.
      await database.sql(`create table cursors ${reflexTable('varchar(255)', plainNames)}`)
      await database.sql('alter table cursors add is_reset tinyint(1) not null default 0')
      const cursors = mysqlCursors(database.poolOf({ flags: [flag] }))
      await cursors.set('a', '1', '')
      await cursors.set('a', '1', '')
      await cursors.set('a', '2', '1')
      for (const expected of ['', '1', '2', '3']) await cursors.set('a', '2', expected)
      for (const expected of ['', '1', '3']) {
        expect(codeOf(await errorOf(cursors.set('a', '4', expected)))).toBe('CURSOR_CONFLICT')
      }
      await cursors.reset('a', '2')
      await cursors.reset('a', '2')
      expect(await errorOf(cursors.set('a', '4', '3'))).toMatchObject({ reset: true })
      await cursors.set('a', '2', '1')
      expect(await errorOf(cursors.set('a', '4', '3'))).toMatchObject({ reset: false })
      expect(await cursors.get('a')).toBe('2')
    },
  )
})

describe('runners at once', () => {
  const levels = ['read uncommitted', 'read committed', 'repeatable read', 'serializable']

  test.each(levels)('of one name never overwrite each other: %s', async (level) => {
    const database = await testDatabase()
    await mysqlCursors(database.pool).createTable()
    await count(database, await poolAt(database, level), { runners: 6, steps: 8, lose: () => undefined })
  })

  test('of one name never overwrite each other, though connections are lost with unknown outcomes', async () => {
    const database = await testDatabase()
    await mysqlCursors(database.pool).createTable()
    const losses = fc.array(fc.record({ at: fc.nat({ max: 60 }), how: fc.constantFrom<Loss>('before', 'after') }), {
      minLength: 1,
      maxLength: 12,
    })
    const play = async (plan: readonly { readonly at: number; readonly how: Loss }[]): Promise<void> => {
      let statements = 0
      const lose = (): Loss | undefined => {
        const number = statements++
        return plan.find(({ at }) => at === number)?.how
      }
      await database.sql('delete from cursors')
      await count(database, database.pool, { runners: 3, steps: 6, lose })
    }
    await fc.assert(fc.asyncProperty(losses, play), {
      numRuns: 25,
      seed: Number(process.env['REFLEX_BRIDGE_SEED'] ?? 1),
      endOnFailure: true,
    })
  })
})

async function poolAt(database: Database, level: string): Promise<Pool> {
  const pool = database.poolOf({ connectionLimit: 4 })
  const connections = await Promise.all([1, 2, 3, 4].map(() => pool.getConnection()))
  for (const connection of connections) {
    await connection.query(`set session transaction isolation level ${level}`)
    connection.release()
  }
  return pool
}

/**
 * Runners count on one cursor: each reads it and sets the next number, until it has succeeded `steps` times. So the cursor counts
 * the successes, and some of those whose outcome is unknown.
 */
async function count(
  database: Database,
  pool: Pool,
  { runners, steps, lose }: { runners: number; steps: number; lose: () => Loss | undefined },
): Promise<void> {
  let unknown = 0
  const won: string[] = []
  const runner = async (): Promise<void> => {
    const cursors = mysqlCursors(lossyPool(pool, lose))
    for (let done = 0; done < steps; ) {
      const at = await cursors.get('counter').catch(() => undefined)
      if (at === undefined) continue
      const next = String(Number(at) + 1)
      try {
        await cursors.set('counter', next, at)
        won.push(next)
        done++
      } catch (error) {
        if (codeOf(error) !== 'CURSOR_CONFLICT') unknown++
      }
    }
  }
  await Promise.all(Array.from({ length: runners }, runner))
  const end = Number(await mysqlCursors(database.pool).get('counter'))
  // Runners in lockstep may both have stored the same number: equal is success.
  expect(end).toBeGreaterThanOrEqual(new Set(won).size)
  expect(end).toBeLessThanOrEqual(new Set(won).size + unknown)
}

describe('what luno/reflex gets wrong', () => {
  async function store(): Promise<ReturnType<typeof mysqlCursors>> {
    const { pool } = await testDatabase()
    const cursors = mysqlCursors(pool)
    await cursors.createTable()
    return cursors
  }

  test('an equal cursor is an error', async () => {
    const cursors = await store()
    await cursors.set('a', '20', '')
    await cursors.set('a', '20', '20')
    await cursors.set('a', '20', '')
    expect(await cursors.get('a')).toBe('20')
  })

  test('a cursor that goes back within a buffer is stored', async () => {
    const cursors = await store()
    await cursors.set('a', '10', '')
    expect(await errorOf(cursors.set('a', '5', ''))).toMatchObject({ code: 'CURSOR_CONFLICT', actual: '10' })
    expect(await cursors.get('a')).toBe('10')
  })

  test('a cursor that was set is not seen until it is flushed', async () => {
    const cursors = await store()
    await cursors.set('a', '1', '')
    expect(await cursors.get('a')).toBe('1')
  })

  test('one failing cursor aborts those of the others, and loses them', async () => {
    const cursors = await store()
    const names = Array.from({ length: 20 }, (_, i) => `consumer ${i}`)
    await cursors.set('consumer 7', '9', '')
    const outcomes = await Promise.allSettled(names.map((name) => cursors.set(name, '5', '')))
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1)
    expect([...((await cursors.list?.()) ?? [])].filter(([, cursor]) => cursor === '5')).toHaveLength(19)
  })

  test('text cursors are compared in the order of a collation', async () => {
    const cursors = await store()
    let last = ''
    // Each is less than the one before, as text.
    for (const cursor of ['9-1', '10-1', '10-0', 'b', 'A', 'a ']) {
      await cursors.set('a', cursor, last)
      last = cursor
    }
    expect(codeOf(await errorOf(cursors.set('a', 'z', 'a')))).toBe('CURSOR_CONFLICT')
    expect(await cursors.get('a')).toBe('a ')
  })

  test('a second process of the same consumer is told only that a cursor is too small', async () => {
    const cursors = await store()
    await cursors.set('a', '3', '')
    await cursors.set('a', '4', '3')
    const error = await errorOf(cursors.set('a', '9', '3'))
    expect(error).toMatchObject({ code: 'CURSOR_CONFLICT', consumer: 'a', expected: '3', actual: '4', reset: false })
    expect(String(error)).toContain('another runner')
  })
})
