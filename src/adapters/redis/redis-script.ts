import { createHash } from 'node:crypto'
import { codeOf } from '../../core/errors.ts'
import type { RedisConnection } from './redis-connection.ts'

/** A Lua script that is called by its hash, so that it is sent once and not with every call. */
export interface RedisScript {
  call(
    connection: RedisConnection,
    keys: readonly string[],
    args: readonly (string | Buffer)[],
  ): Promise<readonly (string | null)[]>
}

/** Makes a script. Its reply must be an array of strings, or of false for null. */
export function redisScript(lua: string): RedisScript {
  const sha = createHash('sha1').update(lua).digest('hex')
  return {
    call: async ({ call }, keys, args) => {
      const rest = [String(keys.length), ...keys, ...args]
      let reply: unknown
      try {
        reply = await call('EVALSHA', sha, ...rest)
      } catch (error) {
        // The server has forgotten it, or never knew it: nothing has been run.
        if (codeOf(error) !== 'REDIS_NOSCRIPT') throw error
        reply = await call('EVAL', lua, ...rest)
      }
      return reply as (string | null)[]
    },
  }
}
