import { describe, inject, test } from 'vitest'
import { conformance, replay } from '../../src/testing/conformance/index.ts'
import { gate, onOwnServer, ownSubjects } from '../subjects/gate.ts'
import { killRounds } from '../subjects/kill-rounds.ts'
import { redisSubjects } from '../subjects/redis.ts'

const shared = await redisSubjects(inject('servers').redis)
const own = ownSubjects('redis', redisSubjects)
const { options, killed } = gate('redis', shared, 3)

for (const [name, create] of Object.entries(shared.sources)) {
  describe(name, () => conformance({ ...options, create }))
  describe(name, () => conformance({ ...options, ...onOwnServer.source, create: own.source(name) }))
}

for (const [name, create] of Object.entries(shared.sinks)) {
  describe(name, () => conformance({ ...options, of: 'sink', create }))
}
describe('redisSink', () => conformance({ ...options, ...onOwnServer.sink, of: 'sink', create: own.sink('redisSink') }))

for (const [name, create] of Object.entries(shared.stores)) {
  describe(name, () => conformance({ ...options, of: 'cursors', create }))
  describe(name, () => conformance({ ...options, ...onOwnServer.cursors, of: 'cursors', create: own.store(name) }))
}

test('ten kills of the server cost no event', async () => {
  await replay({ create: own.source('redisStream'), schedule: killRounds(10) })
  killed(10)
}, 240_000)
