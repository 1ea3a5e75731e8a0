import { mysqlEvents, mysqlOptions } from '../../adapters/mysql/index.ts'
import { openSqlite, sqliteEvents } from '../../adapters/sqlite/index.ts'
import { importClient } from '../../service/config/import-client.ts'
import type { OrderDatabase } from './stage.ts'

/** Opens the database that `url` names: `sqlite:PATH` or `mysql://…`. */
export async function openOrderDatabase(url: string): Promise<OrderDatabase> {
  return url.startsWith('sqlite:') ? sqliteOrders(url.slice('sqlite:'.length)) : mysqlOrders(url)
}

function sqliteOrders(path: string): OrderDatabase {
  const database = openSqlite(path)
  database.exec('create table if not exists orders (id text primary key) without rowid')
  const table = sqliteEvents(database)
  table.createTable()
  const insert = database.prepare('insert into orders (id) values (?)')
  return {
    transaction: async ({ orders, events, commit }) => {
      database.exec('begin immediate')
      for (const order of orders) insert.run(order)
      table.insert(database, ...events)
      database.exec(commit ? 'commit' : 'rollback')
    },
    [Symbol.asyncDispose]: async () => database.close(),
  }
}

async function mysqlOrders(url: string): Promise<OrderDatabase> {
  const { createPool } = await importClient('mysql2', () => import('mysql2/promise'))
  const pool = createPool({ ...mysqlOptions, uri: url, connectionLimit: 2 })
  await pool.query('create table if not exists orders (id varchar(64) primary key)')
  const table = mysqlEvents(pool)
  await table.createTable()
  const connection = await pool.getConnection()
  return {
    transaction: async ({ orders, events, commit }) => {
      await connection.beginTransaction()
      if (orders.length > 0)
        await connection.query('insert into orders (id) values ?', [orders.map((order) => [order])])
      await table.insert(connection, ...events)
      await (commit ? connection.commit() : connection.rollback())
    },
    [Symbol.asyncDispose]: async () => {
      connection.release()
      await pool.end()
    },
  }
}
