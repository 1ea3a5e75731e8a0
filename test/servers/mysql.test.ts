import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { createConnection, type RowDataPacket } from 'mysql2/promise'
import { expect, inject, test } from 'vitest'
import { startServer } from '../../src/testing/servers/index.ts'

const run = promisify(execFile)

async function query(url: string, ...statements: string[]): Promise<RowDataPacket[]> {
  const connection = await createConnection(url)
  try {
    let rows: RowDataPacket[] = []
    for (const statement of statements) [rows] = await connection.query<RowDataPacket[]>(statement)
    return rows
  } finally {
    await connection.end()
  }
}

test('the shared mysql lets root in without a password and says its version', async () => {
  const { url, version } = inject('servers').mysql
  expect(await query(url, 'select version() as version')).toEqual([{ version }])
})

test('mysql shows metadata locks from the start', async () => {
  await using mysql = await startServer('mysql', { from: ['docker', 'native'], column: 'current' })
  const rows = await query(
    mysql.url,
    `select enabled as enabled from performance_schema.setup_instruments where name = 'wait/lock/metadata/sql/mdl'`,
  )
  expect(rows).toEqual([{ enabled: 'YES' }])
})

test('after kill -9 mysql starts again on the same port with its committed rows', async () => {
  await using mysql = await startServer('mysql', { from: ['docker', 'native'] })
  await query(
    mysql.url,
    'create database shop',
    'create table shop.events (id int primary key)',
    'insert into shop.events values (7)',
  )
  await mysql.process?.kill()
  await mysql.process?.start()
  expect(await query(mysql.url, 'select id from shop.events')).toEqual([{ id: 7 }])
})

test('two servers are two servers, and the mysql client comes with them', async () => {
  const from = ['native'] as const
  await using one = await startServer('mysql', { from })
  await using other = await startServer('mysql', { from })
  const ids = await Promise.all([one, other].map(({ url }) => query(url, 'select @@server_uuid as id')))
  expect(ids[0]).not.toEqual(ids[1])

  const [command = '', ...prefix] = one.cli('mysql') ?? []
  const { stdout } = await run(command, [
    ...prefix,
    '-h',
    one.host,
    '-P',
    `${one.port}`,
    '-u',
    'root',
    '-N',
    '-e',
    'select 7 + 1',
  ])
  expect(stdout.trim()).toBe('8')
})

test('the older column has MariaDB with its metadata lock plugin', { timeout: 300_000 }, async () => {
  await using mysql = await startServer('mysql', { from: ['docker', 'native'], column: 'older' })
  expect(mysql.version).toMatch(/^10\.11\..*MariaDB/)
  const rows = await query(
    mysql.url,
    `install soname 'metadata_lock_info'`,
    'select * from information_schema.metadata_lock_info limit 1',
  )
  expect(Array.isArray(rows)).toBe(true)
})
