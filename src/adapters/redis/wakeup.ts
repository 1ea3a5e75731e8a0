import { systemClock } from '../../core/clock.ts'
import type { RedisClient } from './redis-client.ts'
import { connectRedis, type RedisConnection } from './redis-connection.ts'

/** Waits for new entries over a connection of its own, which is made when it is first needed. */
export interface Wakeup extends AsyncDisposable {
  /**
   * Resolves soon after an entry behind `position` has come, or after about a second, also if the server has stopped to
   * answer: only a read can tell what there is. Rejects when the connection breaks, and when it is disposed of.
   */
  wait(position: string): Promise<void>
}

/** The server is asked anew this often. */
const BLOCK_MS = 1000
/** And not waited for any longer than this. */
const WAIT_MS = 1250

/** Makes a wake-up for the stream at `key`; `log` names it in errors. */
export function createWakeup(redis: RedisClient, { log, key }: { log: string; key: string }): Wakeup {
  const closed = new AbortController()
  let connection: RedisConnection | undefined
  return {
    wait: async (position) => {
      if (connection === undefined) {
        connection = await connectRedis(redis, { log, name: 'reflex-wakeup', blocking: true, signal: closed.signal })
        if (closed.signal.aborted) await connection[Symbol.asyncDispose]()
      }
      const block = ['BLOCK', String(BLOCK_MS), 'STREAMS', key, position]
      const woken = new AbortController()
      try {
        const signal = AbortSignal.any([closed.signal, woken.signal])
        const asked = connection.callBuffer('XREAD', 'COUNT', '1', ...block)
        await Promise.race([asked, systemClock.sleep(WAIT_MS, signal)])
      } finally {
        woken.abort()
      }
    },
    [Symbol.asyncDispose]: async () => {
      closed.abort()
      await connection?.[Symbol.asyncDispose]()
    },
  }
}
