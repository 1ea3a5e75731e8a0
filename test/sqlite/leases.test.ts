import { expect, it, onTestFinished } from 'vitest'
import { openSqlite, type SqliteLeases, sqliteLeases } from '../../src/adapters/sqlite/index.ts'
import { checkLeases } from '../tools/lease-contract.ts'
import { newFile } from './new-file.ts'

it('grants a lease to one at a time, by its own clock, under tokens that only grow', async () => {
  const path = newFile()
  const open = (): SqliteLeases => {
    const database = openSqlite(path)
    onTestFinished(() => database.close())
    return sqliteLeases(database)
  }
  const first = open()
  await expect(first.get('orders')).rejects.toMatchObject({ code: 'TABLE_MISSING' })
  first.createTable()
  first.createTable()
  const database = openSqlite(path)
  onTestFinished(() => database.close())
  await checkLeases(open, (lease) => database.prepare('delete from leases where name = ?').run(lease))
})
