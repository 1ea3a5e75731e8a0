import { describe, inject } from 'vitest'
import { conformance } from '../../src/testing/conformance/index.ts'
import { gate, onOwnServer, ownSubjects } from '../subjects/gate.ts'
import { jetstreamSubjects } from '../subjects/jetstream.ts'

const shared = await jetstreamSubjects(inject('servers').nats)
const own = ownSubjects('nats', jetstreamSubjects)
const { options } = gate('jetstream sinks', shared, 2)

for (const [name, create] of Object.entries(shared.sinks))
  describe(name, () => conformance({ ...options, of: 'sink', create }))

// A frozen server takes its time: one of them stands for all.
const last = Object.keys(shared.sinks).at(-1) ?? ''
describe(last, () => conformance({ ...options, ...onOwnServer.sink, of: 'sink', create: own.sink(last) }))
