import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { expect, inject, test } from 'vitest'
import { startServer } from '../../src/testing/servers/index.ts'

const run = promisify(execFile)

async function withClient<T>(url: string, use: (client: Redis) => Promise<T>, options = {}): Promise<T> {
  const client = new Redis(url, { maxRetriesPerRequest: 1, ...options })
  client.on('error', () => {})
  try {
    return await use(client)
  } finally {
    client.disconnect()
  }
}

test('the shared redis answers and says its version', async () => {
  const { url, version } = inject('servers').redis
  expect(await withClient(url, (client) => client.ping())).toBe('PONG')
  expect(version).toMatch(/^\d+\.\d+\.\d+/)
})

test('redis-cli comes with a native redis', async () => {
  await using redis = await startServer('redis', { from: ['native'] })
  const [command = '', ...prefix] = redis.cli('redis-cli') ?? []
  const { stdout } = await run(command, [...prefix, '-h', redis.host, '-p', `${redis.port}`, 'ping'])
  expect(stdout).toBe('PONG\n')
  expect(redis.cli('mysql')).toBeUndefined()
})

test('after kill -9 redis starts again on the same port with its data', async () => {
  await using redis = await startServer('redis', { from: ['docker', 'native'] })
  const process = redis.process
  if (process === undefined) throw new Error('expected control over the process')
  await withClient(redis.url, (client) => client.set('key', 'kept'))
  const firstPid = process.pid
  await process.kill()
  await expect(process.kill()).rejects.toThrow('not running')
  await expect(withClient(redis.url, (client) => client.ping(), { retryStrategy: null })).rejects.toThrow()
  await process.start()
  expect(process.pid).not.toBe(firstPid)
  expect(await withClient(redis.url, (client) => client.get('key'))).toBe('kept')
  await process.stop()
  await process.start()
  expect(await withClient(redis.url, (client) => client.get('key'))).toBe('kept')
})

test('without the append-only file a killed redis is empty', async () => {
  await using redis = await startServer('redis', { from: ['docker', 'native'], redis: { appendonly: false } })
  await withClient(redis.url, (client) => client.set('key', 'lost'))
  await redis.process?.kill()
  await redis.process?.start()
  expect(await withClient(redis.url, (client) => client.get('key'))).toBeNull()
})

test('a frozen redis keeps its connections and answers when thawed', async () => {
  await using redis = await startServer('redis', { from: ['docker', 'native'] })
  await withClient(redis.url, async (client) => {
    await client.ping()
    redis.process?.freeze()
    const answer = client.ping()
    const early = await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 200, 'silence'))])
    expect(early).toBe('silence')
    redis.process?.thaw()
    expect(await answer).toBe('PONG')
  })
})
