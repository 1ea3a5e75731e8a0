import { describe, inject, test } from 'vitest'
import { conformance, replay } from '../../src/testing/conformance/index.ts'
import { gate, onOwnServer, ownSubjects } from '../subjects/gate.ts'
import { jetstreamSubjects } from '../subjects/jetstream.ts'
import { killRounds } from '../subjects/kill-rounds.ts'

const shared = await jetstreamSubjects(inject('servers').nats)
const own = ownSubjects('nats', jetstreamSubjects)
const { options, killed } = gate('jetstream', shared, 2)

for (const [name, create] of Object.entries(shared.sources)) {
  describe(name, () => conformance({ ...options, create }))
  describe(name, () => conformance({ ...options, ...onOwnServer.source, create: own.source(name) }))
}

for (const [name, create] of Object.entries(shared.stores)) {
  describe(name, () => conformance({ ...options, of: 'cursors', create }))
  describe(name, () => conformance({ ...options, ...onOwnServer.cursors, of: 'cursors', create: own.store(name) }))
}

test('ten kills of the server cost no event', async () => {
  await replay({ create: own.source('jetstreamSource, @nats-io v3'), schedule: killRounds(10) })
  killed(10)
}, 240_000)
