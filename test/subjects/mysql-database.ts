import { randomBytes } from 'node:crypto'
import { type Connection, createConnection, createPool, type Pool, type PoolOptions } from 'mysql2/promise'
import { mysqlOptions } from '../../src/adapters/mysql/index.ts'
import type { Address } from '../../src/testing/servers/index.ts'

/** A database of its own on a real server. */
export interface MysqlDatabase extends AsyncDisposable {
  readonly name: string
  readonly pool: Pool
  /** Rows of a statement of an administrator, in this database, by the order of their columns. */
  sql(statement: string, values?: readonly string[]): Promise<unknown[][]>
  /** A pool of another account, or with other options; ends with the database. */
  poolOf(options: PoolOptions): Pool
  /** An administrator's connection in this database; ends with the database. */
  connect(): Promise<Connection>
  /** What is done when the database ends, before it is dropped. */
  onEnd(end: () => Promise<unknown>): void
  /** Connections that are in this database, but for the administrator's. */
  connections(): Promise<number>
}

/** Makes an empty database. `via` is the way that pools take; an administrator's connection goes to the server straight. */
export async function newMysqlDatabase(server: Address, via: Address = server): Promise<MysqlDatabase> {
  const name = `test_${randomBytes(5).toString('hex')}`
  const at = { ...mysqlOptions, host: server.host, port: server.port, user: 'root' }
  const ended: (() => Promise<unknown>)[] = []
  const open = async (options: object): Promise<Connection> => {
    const connection = await createConnection({ ...at, ...options })
    connection.on('error', () => {}) // servers and connections are killed
    return connection
  }
  let admin = await open({ rowsAsArray: true })
  const ask = async (statement: string, values: readonly string[]): Promise<unknown[][]> => {
    const [rows] = await admin.query(statement, [...values])
    return rows as unknown[][]
  }
  const sql = async (statement: string, values: readonly string[] = []): Promise<unknown[][]> => {
    try {
      return await ask(statement, values)
    } catch (error) {
      if (!isFatal(error)) throw error
      admin.destroy() // it went with the server
      admin = await open({ rowsAsArray: true, database: name })
      return await ask(statement, values)
    }
  }
  await sql(`create database ${name}`)
  await sql(`use ${name}`)
  const poolOf = (options: PoolOptions): Pool => {
    const pool = createPool({
      ...at,
      ...{ host: via.host, port: via.port, database: name },
      connectionLimit: 12,
      ...options,
    })
    ended.push(() => pool.end())
    return pool
  }
  return {
    name,
    pool: poolOf({}),
    sql,
    poolOf,
    connect: async () => {
      const connection = await open({ database: name })
      const kept = new WeakRef(connection) // thousands are lost on purpose, each with half a megabyte of its own
      ended.push(async () => kept.deref()?.destroy())
      return connection
    },
    onEnd: (end) => void ended.unshift(end),
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

function isFatal(error: unknown): boolean {
  return (error as { fatal?: boolean }).fatal === true
}
