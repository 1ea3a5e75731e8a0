import { setTimeout as sleep } from 'node:timers/promises'
import { createPool } from 'mysql2/promise'
import { memoryCursors, run } from 'reflex-bridge'
import { mysqlEvents, mysqlOptions } from 'reflex-bridge/mysql'
import { startServer } from 'reflex-bridge/testing'
import { COUNT, sampleEvents } from '../events.ts'
import { latency } from '../latency.ts'
import { compare, type Result, rate } from '../measure.ts'
import { mysqlConsumerCases } from './mysql-consumers.ts'

const PAGE = 1000

/**
 * MySQL: source and run against a bare paging loop (which loses late commits), with a million events if `full`; the latency
 * against bare polling; and what consumers cost.
 */
export async function mysqlCases({ full }: { readonly full: boolean }): Promise<Result[]> {
  const count = full ? 1_000_000 : COUNT
  await using server = await startServer('mysql')
  await using stack = new AsyncDisposableStack()
  const admin = createPool({ ...mysqlOptions, uri: server.url })
  await admin.query('create database bench')
  await admin.end()
  const pool = createPool({ ...mysqlOptions, uri: new URL('/bench', server.url).href })
  stack.defer(() => pool.end())
  const connection = await pool.getConnection()
  stack.defer(() => connection.release())

  const table = mysqlEvents(pool)
  await table.createTable()
  for (let i = 0; i < count; i += PAGE) await table.insert(connection, ...sampleEvents(PAGE))
  const { stream } = table.source
  const source = await compare({
    case: `MySQL source + run, ${count.toLocaleString('en')} events`,
    unit: 'events/s',
    referenceName: 'bare paging loop (mysql2)',
    ours: () =>
      rate(count, () =>
        run({ stream, cursors: memoryCursors(), consumer: { name: 'bench', handle: () => {} } }, { toHead: true }),
      ),
    reference: () =>
      rate(count, async () => {
        for (let after: unknown = 0; ; ) {
          const [rows] = await connection.query(
            'select id, foreign_id, timestamp, type, metadata, headers from events where id > ? order by id limit ?',
            [after, PAGE],
          )
          const page = rows as { id: unknown }[]
          if (page.length < PAGE) return
          after = page.at(-1)?.id
        }
      }),
  })

  const tables = new Map<string, ReturnType<typeof mysqlEvents>>()
  const open = async (name: string): Promise<ReturnType<typeof mysqlEvents>> => {
    const found = tables.get(name)
    if (found !== undefined) return found
    const created = mysqlEvents(pool, { table: name })
    await created.createTable()
    tables.set(name, created)
    return created
  }
  const latencyCases = await latency('MySQL commit → handler', {
    referenceName: 'bare select every 5 ms (mysql2)',
    write: async (name) => {
      const events = await open(name)
      const { wake } = await events.insert(connection, { type: 1, foreignId: 'a' })
      wake()
    },
    open: async (name) => (await open(name)).source.stream('', {}),
    bare: async (name, onEvent, signal) => {
      for (let after: unknown = 0; !signal.aborted; await sleep(5)) {
        const [rows] = await pool.query(`select id from ${name} where id > ? order by id limit ?`, [after, PAGE])
        for (const { id } of rows as { id: unknown }[]) {
          after = id
          onEvent()
        }
      }
    },
  })
  return [source, ...latencyCases, ...(await mysqlConsumerCases(server.url, { full }))]
}
