import { describe, expect, test } from 'vitest'
import { openSqlite, sqliteCursors, sqliteEvents, sqliteSink } from '../../../src/adapters/sqlite/index.ts'
import type { Event } from '../../../src/core/index.ts'
import type { BridgeSubject } from '../../../src/testing/bridge/bridge-subject.ts'
import { bridgeSuite } from '../../../src/testing/bridge/bridge-suite.ts'
import { simulatedRoute } from '../../../src/testing/bridge/simulated-route.ts'
import { checkProperty } from '../../../src/testing/conformance/check-property.ts'
import { describeFailure } from '../../../src/testing/conformance/describe-failure.ts'
import { bridgeCases } from '../../zoo/bridge-cases.ts'

const RUNS = Number(process.env['RUNS'] ?? 6)

/** From a table into another, in one database: nothing of it is simulated. */
function sqliteRoute(): BridgeSubject {
  const database = openSqlite(':memory:')
  const events = sqliteEvents(database)
  const copies = sqliteEvents(database, { table: 'copies' })
  const checkpoints = sqliteCursors(database)
  events.createTable()
  checkpoints.createTable()
  sqliteSink(database, { table: 'copies' }).createTable()
  return {
    source: events.source,
    append: async (all) => {
      database.exec('begin immediate')
      const { ids } = events.insert(database, ...all)
      database.exec('commit')
      events.wake()
      return ids
    },
    sink: () => sqliteSink(database, { table: 'copies' }),
    checkpoints,
    read: async () => {
      const read: Event[] = []
      await using stream = await copies.source.stream('', { toHead: true })
      for await (const batch of stream) read.push(...batch.events)
      return read
    },
    [Symbol.asyncDispose]: () => database.close(),
  }
}

const options = { runs: RUNS, seed: 1, timeLimitMs: 3000, limitMs: 5000 }

describe('in real time', () => {
  for (const [name, create] of [
    ['SQLite to SQLite', sqliteRoute],
    ['parts in memory', () => ({ ...simulatedRoute(), simulated: false })],
  ] as const) {
    test(`no property is broken by ${name}`, async () => {
      let played = 0
      for (const property of bridgeSuite.properties) {
        const { failure, schedules } = await checkProperty(bridgeSuite, property, create, options)
        expect(failure && describeFailure('bridge', failure, property)).toBeUndefined()
        played += schedules
      }
      console.log(`${name}: ${played} schedules`)
    })
  }

  test('a bridge that is broken is seen', async () => {
    const names = [
      'a bridge goes on after an append that failed',
      'a bridge leaves the checkpoint behind until the next event',
      'a sink does not fence an older writer',
    ]
    for (const { name, create } of bridgeCases) {
      if (!names.includes(name)) continue
      let seen = false
      for (const property of bridgeSuite.properties) {
        const real = (): BridgeSubject => ({ ...create(), simulated: false })
        const { outcome } = await checkProperty(bridgeSuite, property, real, { ...options, runs: 30 })
        seen ||= outcome === 'failed'
        if (seen) break
      }
      expect([name, seen]).toEqual([name, true])
    }
  })
})
