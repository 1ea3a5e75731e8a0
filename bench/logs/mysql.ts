import { createConnection, createPool } from 'mysql2/promise'
import { mysqlEvents, mysqlOptions } from 'reflex-bridge/mysql'
import type { LogKind } from '../log-kind.ts'

/** Tables of a database. */
export const mysqlLogs: LogKind = {
  server: 'mysql',
  title: 'MySQL',
  plural: 'tables',
  hasSink: false,
  bareName: 'bare select (mysql2)',
  open: async (url, via) => {
    const admin = createPool({ ...mysqlOptions, uri: url })
    await admin.query('create database if not exists bench')
    const own = createPool({ ...mysqlOptions, uri: new URL('/bench', url).href })
    const to = new URL('/bench', url)
    if (via !== undefined) Object.assign(to, { hostname: via.host, port: String(via.port) })
    const pool = createPool({ ...mysqlOptions, uri: to.href })
    const table = (name: string, i = 0): string => `${name.replaceAll('-', '_')}_${i}`
    return {
      create: async (name, count = 1) => {
        for (let i = 0; i < count; i++) await mysqlEvents(own, { table: table(name, i) }).createTable()
      },
      remove: async (name, count = 1) => {
        for (let i = 0; i < count; i++) await own.query(`drop table ${table(name, i)}`)
      },
      source: (name, i) => mysqlEvents(pool, { table: table(name, i) }).source,
      write: async (name, i) => {
        const connection = await own.getConnection()
        await mysqlEvents(own, { table: table(name, i) }).insert(connection, { type: 1, foreignId: 'a' })
        connection.release()
      },
      bareRead: async (name) => {
        const connection = await createConnection({ ...mysqlOptions, uri: to.href })
        await connection.query(`select * from ${table(name)} order by id limit 1`)
        await connection.end()
      },
      [Symbol.asyncDispose]: async () => {
        await Promise.all([admin.end(), own.end(), pool.end()])
      },
    }
  },
}
