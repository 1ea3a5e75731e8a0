import { randomBytes } from 'node:crypto'
import { type Connection, createConnection, createPool, type Pool, type PoolOptions } from 'mysql2/promise'
import { inject, onTestFinished } from 'vitest'
import { mysqlOptions } from '../../src/adapters/mysql/index.ts'
import { type Clock, systemClock } from '../../src/core/clock.ts'

/** Time runs ten times as fast for who is in the way: it is told of after 100 ms instead of 1 s. Pauses are as they are. */
export const hastyClock: Clock = { ...systemClock, now: () => Date.now() * 10 }

/** A database of its own on a real server. */
export interface Database extends AsyncDisposable {
  readonly name: string
  readonly pool: Pool
  readonly mariadb: boolean
  /** Rows of a statement of an administrator, in this database, by the order of their columns. */
  sql(statement: string, values?: readonly string[]): Promise<unknown[][]>
  /** A pool of another account, or with other options; ends with the database. */
  poolOf(options: PoolOptions): Pool
  /** An administrator's connection in this database; ends with the database. */
  connect(): Promise<Connection>
  /** A new account without any privilege, as `'user'@'%'`; goes with the database. */
  account(): Promise<{ readonly user: string; readonly quoted: string }>
  /** Connections that are in this database, but for the administrator's. */
  connections(): Promise<number>
}

/** Makes an empty database; by default on the shared server. */
export async function newDatabase(
  { host, port }: { host: string; port: number } = inject('servers').mysql,
): Promise<Database> {
  const name = `test_${randomBytes(5).toString('hex')}`
  const at = { ...mysqlOptions, host, port, user: 'root' }
  const ended: (() => Promise<unknown>)[] = []
  const open = async (options: object): Promise<Connection> => {
    const connection = await createConnection({ ...at, ...options })
    connection.on('error', () => {}) // servers and connections are killed
    return connection
  }
  const admin = await open({ rowsAsArray: true })
  const sql = async (statement: string, values: readonly string[] = []): Promise<unknown[][]> => {
    const [rows] = await admin.query(statement, [...values])
    return rows as unknown[][]
  }
  const [[version]] = (await sql('select version()')) as [[string]]
  await sql(`create database ${name}`)
  await sql(`use ${name}`)
  const poolOf = (options: PoolOptions): Pool => {
    const pool = createPool({ ...at, database: name, connectionLimit: 12, ...options })
    ended.push(() => pool.end())
    return pool
  }
  return {
    name,
    pool: poolOf({}),
    mariadb: /mariadb/i.test(version),
    sql,
    poolOf,
    connect: async () => {
      const connection = await open({ database: name })
      ended.push(async () => connection.destroy())
      return connection
    },
    account: async () => {
      const user = `user_${randomBytes(4).toString('hex')}`
      const quoted = `'${user}'@'%'`
      await sql(`create user ${quoted}`)
      ended.unshift(() => sql(`drop user ${quoted}`))
      return { user, quoted }
    },
    connections: async () => {
      const [[count]] = (await sql(
        'select count(*) from information_schema.processlist where db = ? and id <> connection_id()',
        [name],
      )) as [[string]]
      return Number(count)
    },
    [Symbol.asyncDispose]: async () => {
      for (const end of ended) await end().catch(() => {}) // the server may be dead by now
      await sql(`drop database ${name}`).catch(() => {})
      admin.destroy()
    },
  }
}

/** An empty database that ends with the test. */
export async function testDatabase(server?: { host: string; port: number }): Promise<Database> {
  const database = await newDatabase(server)
  onTestFinished(() => database[Symbol.asyncDispose]())
  return database
}
