import { systemClock } from '../../core/clock.ts'
import { type LogPage, readPage } from './log-page.ts'
import type { RedisClient } from './redis-client.ts'
import { connectRedis, type RedisConnection } from './redis-connection.ts'
import { redisError } from './redis-error.ts'

/** Waits for new entries over a connection of its own, which is made when it is first needed. */
export interface Wakeup extends AsyncDisposable {
  /**
   * Resolves soon after an entry behind `position` has come, or after about a second, with what a read of up to `count` entries
   * from `position` then shows: the server does both in one round trip. Undefined if this connection has stopped to answer, and is
   * replaced: only another one can tell whether the server has. Rejects when this connection or `reading` breaks, and when it is
   * disposed of.
   */
  wait(position: string, count: number): Promise<LogPage | undefined>
}

/** The server is asked anew this often. */
const BLOCK_MS = 1000
/** And not waited for any longer than this. */
const WAIT_MS = 1250

/** Makes a wake-up for the stream at `key`; `log` names it in errors, `reading` is the connection that is idle meanwhile. */
export function createWakeup(
  redis: RedisClient,
  { log, key, reading }: { log: string; key: string; reading: Pick<RedisConnection, 'closed'> },
): Wakeup {
  const closed = new AbortController()
  void reading.closed.then(() => closed.abort(redisError(log, new Error('the connection was closed'))))
  let connecting: Promise<RedisConnection> | undefined

  async function connect(): Promise<RedisConnection> {
    const made = await connectRedis(redis, { log, name: 'reflex-wakeup', blocking: true, signal: closed.signal })
    if (closed.signal.aborted) await made[Symbol.asyncDispose]()
    return made
  }

  async function ask(connection: RedisConnection, position: string, count: number): Promise<LogPage> {
    const block = ['BLOCK', String(BLOCK_MS), 'STREAMS', key, position]
    const [, page] = await Promise.all([
      connection.callBuffer('XREAD', 'COUNT', '1', ...block),
      readPage(connection, { log, key, from: position, count }), // what the server does next on this connection
    ])
    return page
  }

  async function inTime<T>(answer: Promise<T>): Promise<T | undefined> {
    const answered = new AbortController()
    const signal = AbortSignal.any([closed.signal, answered.signal])
    try {
      return await Promise.race([answer, systemClock.sleep(WAIT_MS, signal).then(() => undefined)])
    } finally {
      answered.abort()
    }
  }

  return {
    wait: async (position, count) => {
      connecting ??= connect()
      const connection = await inTime(connecting)
      if (connection === undefined) return undefined // it goes on connecting, within a limit of its own
      const page = await inTime(ask(connection, position, count))
      if (page !== undefined) return page
      connecting = undefined
      void connection[Symbol.asyncDispose]()
      return undefined
    },
    [Symbol.asyncDispose]: async () => {
      closed.abort()
      const connection = await connecting?.catch(() => undefined)
      await connection?.[Symbol.asyncDispose]()
    },
  }
}
