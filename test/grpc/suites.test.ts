import { describe } from 'vitest'
import { conformance } from '../../src/testing/conformance/index.ts'
import { gate } from '../subjects/gate.ts'
import { grpcSubjects } from './subjects.ts'

const subjects = await grpcSubjects()
const { options } = gate('grpc', subjects, 5)

for (const [name, create] of Object.entries(subjects.sources)) {
  describe(name, () => conformance({ ...options, timeLimitMs: 500, create }))
}
for (const [name, create] of Object.entries(subjects.stores)) {
  describe(name, () => conformance({ ...options, timeLimitMs: 500, of: 'cursors', create }))
}
