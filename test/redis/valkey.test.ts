import { afterAll, describe, expect, test } from 'vitest'
import { conformance } from '../../src/testing/conformance/index.ts'
import { startServer } from '../../src/testing/servers/index.ts'
import { redisSubjects } from '../subjects/redis.ts'

// The adapter's own tests run against Valkey with REFLEX_BRIDGE_REDIS=valkey; this is what always does.
const server = await startServer('redis', { from: ['native'], env: { ...process.env, REFLEX_BRIDGE_REDIS: 'valkey' } })
const { host, port, url, version } = server
const subjects = await redisSubjects({ host, port, url, version })
afterAll(async () => {
  await subjects[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

const options = { test, runs: 1, seed: 1, timeLimitMs: 20_000 }

test('it is Valkey that answers', () => {
  expect(Number(version.split('.')[0])).toBeGreaterThanOrEqual(8)
})
for (const [name, create] of Object.entries(subjects.sources))
  describe(`${name} on Valkey`, () => conformance({ ...options, create }))
for (const [name, create] of Object.entries(subjects.sinks))
  describe(`${name} on Valkey`, () => conformance({ ...options, of: 'sink', create }))
for (const [name, create] of Object.entries(subjects.stores))
  describe(`${name} on Valkey`, () => conformance({ ...options, of: 'cursors', create }))
