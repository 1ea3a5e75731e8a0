import { Redis } from 'ioredis'
import { createPool } from 'mysql2/promise'
import { bridge, wireNames } from 'reflex-bridge'
import { mysqlCursors, mysqlEvents, mysqlOptions } from 'reflex-bridge/mysql'
import { redisFailFast, redisSink } from 'reflex-bridge/redis'
import { startServers } from 'reflex-bridge/testing'
import { COUNT, sampleEvents } from '../events.ts'
import { compare, type Result, rate } from '../measure.ts'

const PAGE = 1000

/** The bridge from MySQL into Redis, against a loop of a bare select and a bare pipeline that guarantees nothing. */
export async function bridgeCases(): Promise<Result[]> {
  await using stack = new AsyncDisposableStack()
  const { mysql, redis: redisServer } = await startServers(['mysql', 'redis'])
  stack.use(mysql)
  stack.use(redisServer)
  const admin = createPool({ ...mysqlOptions, uri: mysql.url })
  await admin.query('create database bench')
  await admin.end()
  const pool = createPool({ ...mysqlOptions, uri: new URL('/bench', mysql.url).href })
  stack.defer(() => pool.end())
  const redis = new Redis(redisServer.url, { ...redisFailFast })
  stack.defer(() => redis.disconnect())

  const { source, createTable, insert } = mysqlEvents(pool)
  await createTable()
  const connection = await pool.getConnection()
  stack.defer(() => connection.release())
  for (let i = 0; i < COUNT; i += PAGE) await insert(connection, ...sampleEvents(PAGE))
  const checkpoints = mysqlCursors(pool)
  await checkpoints.createTable()

  let round = 0
  return [
    await compare({
      case: 'bridge, MySQL → Redis',
      unit: 'events/s',
      referenceName: 'bare select and pipelined XADD',
      ours: () => {
        const name = `bench-${++round}`
        return rate(COUNT, () =>
          bridge({ name, source, sink: redisSink(redis, { key: name }), checkpoints }, { toHead: true }),
        )
      },
      reference: () => {
        const key = `bare-${++round}`
        return rate(COUNT, async () => {
          for (let after = '0'; ; ) {
            const [rows] = await pool.query(
              'select id, foreign_id, type, metadata from events where id > ? order by id limit ?',
              [after, PAGE],
            )
            const page = rows as { id: string; foreign_id: string; type: number; metadata: Buffer }[]
            const commands = redis.pipeline()
            for (const { id, foreign_id, type, metadata } of page) {
              commands.xadd(
                key,
                '*',
                wireNames.source,
                'bench',
                wireNames.sourceId,
                id,
                wireNames.type,
                type,
                wireNames.foreignId,
                foreign_id,
                'metadata',
                metadata,
              )
            }
            await commands.exec()
            if (page.length < PAGE) return
            after = String(page.at(-1)?.id)
          }
        })
      },
    }),
  ]
}
