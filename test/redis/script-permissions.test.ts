import { expect, test } from 'vitest'
import type { RedisConnection } from '../../src/adapters/redis/redis-connection.ts'
import { redisError } from '../../src/adapters/redis/redis-error.ts'
import { redisScript } from '../../src/adapters/redis/redis-script.ts'
import { messageOf } from '../../src/core/errors.ts'
import { errorOf } from '../tools/reader.ts'

test('where the server does not say which command of a script is not permitted, the error names all of that script', async () => {
  const message = "ERR The user executing the script can't run this command or subcommand script: 1, on @user_script:1."
  const refused = Object.assign(new Error(message), { command: { name: 'evalsha', args: ['secret'] } })
  const call = async (): Promise<never> => {
    throw redisError('redis:log', refused)
  }
  const connection = { log: 'redis:log', call } as unknown as RedisConnection
  const lua =
    "redis.call('XTRIM', KEYS[1]) redis.call('XLEN', KEYS[1]) redis.call('XINFO', 'STREAM', KEYS[1]) redis.call('XLEN', 'a')"
  const error = await errorOf(redisScript(lua).call(connection, ['log'], []))
  expect(error).toMatchObject({ code: 'REDIS_NOPERM', retriable: false })
  expect(messageOf(error)).toMatch(/^redis:log: .*ACL SETUSER <user> \+xinfo\|stream \+xlen \+xtrim\)$/)
})
