import { mysqlCursors, mysqlOptions } from '../../adapters/mysql/index.ts'
import { redisFailFast, redisStream } from '../../adapters/redis/index.ts'
import { disposeStack, wireNames } from '../../core/index.ts'
import { importClient } from '../../service/import-client.ts'
import { startServers } from '../../testing/index.ts'
import { openOrderDatabase } from './order-database.ts'
import type { AuditEntry, Stage } from './stage.ts'

const PAGE = 5000

/** A stage of real servers: MySQL, and every broker that there is an adapter for. Servers that no URL is given for are started, and ended with the stage. */
export async function serverStage({
  log,
  signal,
}: {
  log: (line: string) => void
  signal: AbortSignal
}): Promise<Stage> {
  const stack = disposeStack()
  try {
    const servers = await startServers(['mysql', 'redis'], { log, signal })
    for (const server of Object.values(servers)) stack.use(server)
    const { createPool } = await importClient('mysql2', () => import('mysql2/promise'))
    const { Redis } = await importClient('ioredis', () => import('ioredis'))
    const run = `reflex_demo_${Date.now().toString(36)}`

    const admin = createPool({ ...mysqlOptions, uri: servers.mysql.url, connectionLimit: 1 })
    await admin.query(`create database \`${run}\``)
    stack.defer(async () => {
      await admin.query(`drop database \`${run}\``)
      await admin.end()
    })
    const databaseUrl = new URL(servers.mysql.url)
    databaseUrl.pathname = `/${run}`
    const pool = createPool({ ...mysqlOptions, uri: databaseUrl.href, connectionLimit: 4 })
    stack.defer(() => pool.end())
    await (await openOrderDatabase(databaseUrl.href))[Symbol.asyncDispose]() // creates the tables
    const cursors = mysqlCursors(pool)
    await cursors.createTable()

    const redis = new Redis(servers.redis.url, { ...redisFailFast })
    stack.defer(() => redis.disconnect())
    stack.defer(async () => {
      const keys = await redis.keys(`*${run}*`)
      if (keys.length > 0) await redis.del(...keys)
    })

    async function* committed(): AsyncGenerator<AuditEntry> {
      for (let after = '0'; ; ) {
        const [rows] = await pool.query(
          'select id as sourceId, foreign_id as orderId from events where id > ? order by id limit ?',
          [after, PAGE],
        )
        const page = rows as { sourceId: string | number; orderId: string }[]
        for (const { sourceId, orderId } of page) yield { sourceId: String(sourceId), orderId }
        if (page.length < PAGE) return
        after = String(page.at(-1)?.sourceId)
      }
    }
    async function* redisEntries(): AsyncGenerator<AuditEntry> {
      for (let from = '-'; ; ) {
        const page = await redis.xrange(run, from, '+', 'COUNT', PAGE)
        for (const [, fields] of page) {
          const field = (name: string): string => fields[fields.indexOf(name) + 1] ?? ''
          yield { sourceId: field(wireNames.sourceId), orderId: field(wireNames.foreignId) }
        }
        if (page.length < PAGE) return
        from = `(${page.at(-1)?.[0]}`
      }
    }
    return {
      title: `MySQL ${servers.mysql.version}, bridged into Redis ${servers.redis.version}`,
      databaseUrl: databaseUrl.href,
      source: { url: databaseUrl.href },
      targets: [
        {
          name: 'redis',
          sink: { url: servers.redis.url, key: run },
          source: redisStream(redis, { key: run }),
          entries: redisEntries,
        },
      ],
      cursors,
      committed,
      [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
    }
  } catch (error) {
    await stack[Symbol.asyncDispose]()
    throw error
  }
}
