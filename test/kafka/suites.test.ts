import { describe, inject, test } from 'vitest'
import { conformance, replay } from '../../src/testing/conformance/index.ts'
import { gate, ownSubjects } from '../subjects/gate.ts'
import { kafkaSubjects } from '../subjects/kafka.ts'
import { killRounds } from '../subjects/kill-rounds.ts'

const shared = await kafkaSubjects(inject('servers').kafka)
const own = ownSubjects('kafka', kafkaSubjects)
const { options, killed } = gate('kafka', shared, 2)

for (const [name, create] of Object.entries(shared.sources)) {
  describe(name, () => conformance({ ...options, create }))
  // Each new start takes seconds: those of a source are the ten below.
  const only = ['Y1', 'Y4', 'Y5']
  describe(name, () => conformance({ ...options, create: own.source(name), only, runs: 1 }))
}

for (const [name, create] of Object.entries(shared.sinks)) {
  describe(name, () => conformance({ ...options, of: 'sink', create }))
}
// What stands for all is the one that has the most to lose.
const create = own.sink('kafkaSink, three topics')
describe('kafkaSink, three topics', () => conformance({ ...options, of: 'sink', create, only: ['Y3'], runs: 1 }))
describe('kafkaSink, three topics', () => conformance({ ...options, of: 'sink', create, only: ['Y7', 'Y8', 'Y9'] }))

test('ten kills of the server cost no event', async () => {
  await replay({ create: own.source('kafkaPartition'), schedule: killRounds(10) })
  killed(10)
}, 240_000)
