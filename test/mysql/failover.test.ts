import { expect, test } from 'vitest'
import { mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { testDatabase } from './database.ts'

const NOOP = `insert into events (id, foreign_id, timestamp, type) values (?, '0', utc_timestamp(6), 0)`

test('a server that lacks the last rows is noticed, and with a no-op in the place of the cursor a stream goes on, as docs/operations.md says', async () => {
  const database = await testDatabase()
  const { createTable, append, source } = mysqlEvents(database.pool)
  await createTable()
  await append(...Array.from({ length: 10 }, (_, i) => ({ type: 1, foreignId: `e${i + 1}` })))

  // What was promoted has never had the last two, and gives their ids again.
  await database.sql('delete from events where id > 8')
  await database.sql('alter table events auto_increment = 9')
  expect(codeOf(await errorOf(source.stream('10', {})))).toBe('CURSOR_AHEAD')

  // Before anything is written there: the next id lies behind what was forwarded.
  await database.sql(NOOP, ['10'])
  await append({ type: 1, foreignId: 'after' })
  await using after = reader(await source.stream('10', { toHead: true }))
  expect((await after.rest()).map(({ id, foreignId }) => [id, foreignId])).toEqual([['11', 'after']])
})

test('where ids were given again before anybody looked, no stream can see it: hence the order of steps in docs/operations.md', async () => {
  const database = await testDatabase()
  const { createTable, append, source } = mysqlEvents(database.pool)
  await createTable()
  await append(...Array.from({ length: 10 }, (_, i) => ({ type: 1, foreignId: `e${i + 1}` })))
  await database.sql('delete from events where id > 8')
  await database.sql('alter table events auto_increment = 9')
  await append(...['other', 'other', 'after'].map((foreignId) => ({ type: 1, foreignId })))
  await using after = reader(await source.stream('10', { toHead: true }))
  expect((await after.rest()).map(({ foreignId }) => foreignId)).toEqual(['after'])
})
