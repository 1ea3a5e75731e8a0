import { createHash } from 'node:crypto'
import { codeOf } from '../../core/errors.ts'
import type { RedisConnection } from './redis-connection.ts'
import { redisError } from './redis-error.ts'

/** A Lua script that is called by its hash, so that it is sent once and not with every call. */
export interface RedisScript {
  call(
    connection: RedisConnection,
    keys: readonly string[],
    args: readonly (string | Buffer)[],
  ): Promise<readonly (string | null)[]>
}

/** Options of `redisScript`. */
export interface RedisScriptOptions {
  /**
   * Of a connection with several calls under way at once, each runs in its turn: until the server is known to have the script, it is
   * sent with each call, since what follows would overtake one that had to be sent again. Default: false.
   */
  readonly inOrder?: boolean
}

/** Makes a script. Its reply must be an array of strings, or of false for null. */
export function redisScript(lua: string, { inOrder = false }: RedisScriptOptions = {}): RedisScript {
  const sha = createHash('sha1').update(lua).digest('hex')
  const known = new WeakSet<RedisConnection>()
  const run = async (connection: RedisConnection, rest: readonly (string | Buffer)[]): Promise<unknown> => {
    const { call } = connection
    if (inOrder && !known.has(connection)) {
      const reply = await call('EVAL', lua, ...rest)
      known.add(connection)
      return reply
    }
    try {
      return await call('EVALSHA', sha, ...rest)
    } catch (error) {
      // The server has forgotten it, or never knew it: nothing has been run.
      if (codeOf(error) !== 'REDIS_NOSCRIPT') throw error
      return await call('EVAL', lua, ...rest)
    }
  }
  return {
    call: async (connection, keys, args) => {
      try {
        return (await run(connection, [String(keys.length), ...keys, ...args])) as (string | null)[]
      } catch (error) {
        if (codeOf(error) !== 'REDIS_NOPERM') throw error
        throw redisError(connection.log, (error as Error).cause, commandsOf(lua))
      }
    },
  }
}

/** What a user who runs the script needs, as an ACL names it: `xadd`, `xinfo|stream`. */
function commandsOf(lua: string): string[] {
  const calls = lua.matchAll(/redis\.call\('([A-Z]+)'(?:, '([A-Z]+)')?/g)
  const names = Array.from(calls, ([, name = '', sub]) => (sub === undefined ? name : `${name}|${sub}`).toLowerCase())
  return [...new Set(names)].sort()
}
