// Reads an event table, and tells its parent of every event by the clock that both share. Ends when the parent goes.
import { Redis } from 'ioredis'
import { createPool } from 'mysql2/promise'
import { mysqlEvents, mysqlOptions } from 'reflex-bridge/mysql'
import { redisNotifier } from 'reflex-bridge/redis'
import { CHANNEL, now, type ReaderProcess } from './mysql-consumers.ts'

const { url, table, redis } = JSON.parse(process.argv[2] as string) as ReaderProcess
const ended = new AbortController()
process.once('disconnect', () => ended.abort())
const pool = createPool({ ...mysqlOptions, uri: url })
const publisher = redis === undefined ? undefined : new Redis(redis, { lazyConnect: true })
const notifier = publisher && redisNotifier(publisher, CHANNEL)
const events = mysqlEvents(pool, { table, ...(notifier && { notifier }) })
try {
  await using stream = await events.source.stream('', { signal: ended.signal })
  process.send?.('open')
  for await (const batch of stream) {
    const at = now()
    process.send?.(batch.events.map(({ id }) => [id, at]))
  }
} catch (error) {
  if (!ended.signal.aborted) throw error
} finally {
  publisher?.disconnect()
  await pool.end()
}
