import { describe } from 'vitest'
import { conformance } from '../../src/testing/conformance/index.ts'
import { gate } from '../subjects/gate.ts'
import { sqliteSubjects } from '../subjects/sqlite.ts'

const subjects = await sqliteSubjects()
const { options } = gate('sqlite', subjects, 3)

for (const [name, create] of Object.entries(subjects.sources)) describe(name, () => conformance({ ...options, create }))
for (const [name, create] of Object.entries(subjects.sinks))
  describe(name, () => conformance({ ...options, of: 'sink', create }))
for (const [name, create] of Object.entries(subjects.stores))
  describe(name, () => conformance({ ...options, of: 'cursors', create }))
