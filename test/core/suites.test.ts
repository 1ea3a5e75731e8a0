import { describe } from 'vitest'
import { conformance } from '../../src/testing/conformance/index.ts'
import { gate } from '../subjects/gate.ts'
import { memorySubjects } from '../subjects/memory.ts'

const subjects = await memorySubjects()
const { options } = gate('memory', subjects, 50)

for (const [name, create] of Object.entries(subjects.sources)) describe(name, () => conformance({ ...options, create }))
for (const [name, create] of Object.entries(subjects.sinks))
  describe(name, () => conformance({ ...options, of: 'sink', create }))
for (const [name, create] of Object.entries(subjects.stores))
  describe(name, () => conformance({ ...options, of: 'cursors', create }))
