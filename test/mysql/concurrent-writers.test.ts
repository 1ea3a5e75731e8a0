import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Server, startServer } from '../../src/testing/servers/index.ts'
import { checkConcurrentWriters, concurrentWritersArgs } from '../subjects/concurrent-writers.ts'
import { newMysqlDatabase } from '../subjects/mysql-database.ts'
import { naiveStream } from '../subjects/mysql-naive.ts'

type Read = Required<Parameters<typeof checkConcurrentWriters>[1]>['stream']

const column = process.env['REFLEX_BRIDGE_SERVERS'] === 'older' ? 'older' : 'current'
const seed = Number(process.env['REFLEX_BRIDGE_SEED'] ?? 1)

// Of both, one at a time: mostly they wait, each for a server of its own.
const concurrent = false

describe.concurrent('up to 16 connections that write at once', () => {
  let server: Server
  beforeAll(async () => {
    server = await startServer('mysql', { from: ['native', 'docker'], args: concurrentWritersArgs(column) })
  })
  afterAll(() => server[Symbol.asyncDispose]())

  test('are read without a loss, in order and once, and neither fail nor wait for it; no row is updated', {
    concurrent,
    timeout: 300_000,
  }, async () => {
    const { schedules, events, failure } = await checkConcurrentWriters(server, { runs: 50, seed })
    expect(failure).toBeUndefined()
    expect(schedules).toBe(50)
    console.log(`mysql: ${schedules} schedules of concurrent writers, ${events} events`)
  })

  test('lose events to a reader that pages by `id > ?`', { concurrent, timeout: 120_000 }, async () => {
    const stream: Read = (pool, table) => naiveStream(pool, table, { fill: false })
    const { failure } = await checkConcurrentWriters(server, { runs: 50, seed, stream })
    expect(failure).toMatch(/lost \d+ of/)
  })

  test('fail where a reader fills gaps without asking who was given the ids', {
    concurrent,
    timeout: 300_000,
  }, async () => {
    const stream: Read = (pool, table) => naiveStream(pool, table, { fill: true })
    // Most schedules go well: an INSERT fails only if its id is taken between its being given and its row.
    const { failure } = await checkConcurrentWriters(server, { runs: 500, seed, stream, refuseWaits: false })
    expect(failure).toContain('Duplicate entry')
  })
})

describe.concurrent('up to 16 connections, with another innodb_autoinc_lock_mode', () => {
  test.each([0, 1, 2])('are read without a loss: %i', { concurrent, timeout: 120_000 }, async (mode) => {
    const args = [...concurrentWritersArgs(column), `--innodb-autoinc-lock-mode=${mode}`]
    await using server = await startServer('mysql', { from: ['native', 'docker'], args })
    await using database = await newMysqlDatabase(server)
    expect(Number((await database.sql('select @@innodb_autoinc_lock_mode'))[0]?.[0])).toBe(mode)
    expect(
      (await checkConcurrentWriters(server, { runs: 4, seed: seed + mode, partitions: mode === 2 })).failure,
    ).toBeUndefined()
  })
})
