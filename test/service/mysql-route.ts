import { inject } from 'vitest'
import { mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import type { NewEvent } from '../../src/core/event.ts'
import { parseConfig, type RouteConfig } from '../../src/service/config/parse-config.ts'
import { openRoute } from '../../src/service/open-route.ts'
import { testDatabase } from '../mysql/database.ts'

/** A route from a new table of MySQL, with so many events, to what `sink` says. */
export async function mysqlRoute(
  sink: object,
): Promise<{ route: RouteConfig; insert(count: number, options?: { readonly commit?: boolean }): Promise<void> }> {
  const database = await testDatabase()
  const { host, port } = inject('servers').mysql
  const events = mysqlEvents(database.pool)
  await events.createTable()
  const source = { url: `mysql://root@${host}:${port}/${database.name}` }
  const text = JSON.stringify({ routes: { orders: { source, sink } } })
  const [route] = parseConfig(text, { title: 'test', folder: '/', environment: {} }).routes
  let made = 0
  return {
    route: route as RouteConfig,
    insert: async (count, { commit = true } = {}) => {
      const connection = await database.pool.getConnection()
      const some = Array.from({ length: count }, (): NewEvent => {
        made++
        const headers = { trace: `t${made}`, ключ: ['a b', 'ä'] }
        return { type: made % 3, foreignId: `order-${made % 50}`, metadata: Buffer.from(`payload ${made}`), headers }
      })
      await connection.beginTransaction()
      await events.insert(connection, ...some)
      await (commit ? connection.commit() : connection.rollback())
      connection.release()
    },
  }
}

/** Forwards what is there. */
export async function forward(route: RouteConfig): Promise<void> {
  await using open = await openRoute(route, { createTables: true, readOnly: false })
  await open.createTables()
  await bridge({ name: route.name, ...open }, { toHead: true })
}
