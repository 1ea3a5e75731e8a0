import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import type { Pool, PoolConnection } from 'mysql2/promise'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import {
  type MysqlTransactionsOptions,
  mysqlCursors,
  mysqlEvents,
  mysqlTransactions,
  type TransactionalConsumer,
} from '../../src/adapters/mysql/index.ts'
import { codeOf, type RunError } from '../../src/core/errors.ts'
import { type MemoryLog, memoryLog } from '../../src/core/memory-log.ts'
import { type RunSpec, run } from '../../src/core/run.ts'
import { supervise } from '../../src/core/supervise.ts'
import { conformance } from '../../src/testing/conformance/index.ts'
import { startServer, tcpProxy } from '../../src/testing/servers/index.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, eventually, within } from '../tools/reader.ts'
import { type Database, newDatabase, testDatabase } from './database.ts'
import { type Loss, lossyPool } from './lossy-pool.ts'
import { createEffects, readEffects, writeEffect } from './write-effect.ts'

type TestConsumer = Partial<TransactionalConsumer<PoolConnection>>

interface Stage {
  readonly database: Database
  readonly log: MemoryLog
  /** Runs a consumer that writes effects, to the head. */
  consume(consumer?: TestConsumer, options?: MysqlTransactionsOptions): Promise<string>
  cursor(): Promise<string>
}

/** A log of `count` events, and tables for effects. */
async function stage(count: number): Promise<Stage> {
  const database = await testDatabase()
  await createEffects(database)
  const cursors = mysqlCursors(database.pool)
  await cursors.createTable()
  const log = logOf(count)
  return {
    database,
    log,
    consume: async (consumer, options) => {
      const spec = mysqlTransactions(
        database.pool,
        { stream: log.source.stream, consumer: { name: 'counter', handle, ...consumer } },
        options,
      )
      return (await run(spec, { toHead: true })).cursor
    },
    cursor: () => cursors.get('counter'),
  }
}

function logOf(count: number, batchSize?: number): MemoryLog {
  const log = memoryLog(batchSize === undefined ? {} : { batchSize })
  log.append(...numbered(count))
  return log
}

const handle: TransactionalConsumer<PoolConnection>['handle'] = (event, { connection }) =>
  writeEffect(connection, event)

const upTo = (count: number): { ids: number[]; total: number } => {
  const ids = Array.from({ length: count }, (_, i) => i + 1)
  return { ids, total: (count * (count + 1)) / 2 }
}

describe('a transaction', () => {
  test('has the effects of some events and their cursor, and nothing of it is seen before', async () => {
    const { database, consume, cursor } = await stage(10)
    const seen: [number, string][] = []
    await consume(
      {
        handle: async (event, { connection }) => {
          seen.push([(await readEffects(database)).ids.length, await cursor()])
          await writeEffect(connection, event)
        },
      },
      { maxEvents: 4 },
    )
    const [first, second, third] = [
      [0, ''],
      [4, '4@1'],
      [8, '8@1'],
    ]
    expect(seen).toEqual([first, first, first, first, second, second, second, second, third, third])
    expect(await readEffects(database)).toEqual(upTo(10))
    expect(await cursor()).toBe('10@1')
  })

  test('is committed within its batch when it has lasted for a second, and is not held open by a delay', async () => {
    const { database, consume } = await stage(3)
    const seen: number[] = []
    await consume({
      handle: async (event, { connection }) => {
        seen.push((await readEffects(database)).ids.length)
        await writeEffect(connection, event)
        if (event.id === '2') await new Promise((resolve) => setTimeout(resolve, 1050))
      },
    })
    expect(seen).toEqual([0, 0, 2])
  })

  test('without its failing event: what that wrote is undone, the others stay, and it is the first next time', async () => {
    const { database, consume, cursor } = await stage(5)
    const handled: string[] = []
    let fails = true
    const consumer: TestConsumer = {
      handle: async (event, { connection }) => {
        handled.push(event.id)
        await writeEffect(connection, event)
        if (event.id === '3' && fails) throw new Error('not today')
      },
    }
    expect(await errorOf(consume(consumer))).toMatchObject({ stage: 'handle', eventId: '3' })
    expect(await readEffects(database)).toEqual(upTo(2))
    expect(await cursor()).toBe('2@1')
    fails = false
    await consume(consumer)
    expect(handled).toEqual(['1', '2', '3', '3', '4', '5'])
    expect(await readEffects(database)).toEqual(upTo(5))
  })

  test('has what recover writes in place of what the handler wrote', async () => {
    const { database, consume, cursor } = await stage(3)
    for (const maxEvents of [1, 3]) {
      await database.sql('create table passed (event_id varchar(40), rest int)')
      await mysqlCursors(database.pool).reset('counter', '')
      await consume(
        {
          handle: async (event, { connection }) => {
            await writeEffect(connection, event)
            if (event.id !== '2') throw new Error('refused')
          },
          recover: async (error, event, { connection }) => {
            expect(error).toEqual(new Error('refused'))
            await connection.query('insert into passed select ?, count(*) from effects', [event.id])
          },
        },
        { maxEvents },
      )
      // Of what failed there is no effect, not even within its transaction.
      expect(await database.sql('select * from passed')).toEqual([
        ['1', 0],
        ['3', 1],
      ])
      expect(await cursor()).toBe('3@1')
      await database.sql('drop table passed')
      await database.sql('truncate effects')
    }
  })

  test('a recover that throws has written nothing, and skipped events move the cursor without one', async () => {
    const { database, consume, cursor } = await stage(4)
    const failing = consume({
      filter: ({ id }) => id !== '4',
      handle: () => {
        throw new Error('refused')
      },
      recover: async (error, event, { connection }) => {
        await writeEffect(connection, event)
        if (event.id === '3') throw error
      },
    })
    expect(await errorOf(failing)).toMatchObject({ eventId: '3' })
    expect(await readEffects(database)).toEqual(upTo(2))
    await consume({ filter: ({ id }) => id === '3' })
    expect(await readEffects(database)).toEqual(upTo(3))
    expect(await cursor()).toBe('4@1')
  })

  test('a class instance is a consumer with all its members', async () => {
    const database = await testDatabase()
    await createEffects(database)
    await mysqlCursors(database.pool).createTable()
    class Even {
      readonly name = 'counter'
      readonly divisor = 2
      filter({ id }: { id: string }): boolean {
        return Number(id) % this.divisor === 0
      }
      handle(event: { id: string }, { connection }: { connection: PoolConnection }): Promise<void> {
        return writeEffect(connection, event)
      }
    }
    const spec = mysqlTransactions(database.pool, { stream: logOf(4).source.stream, consumer: new Even() })
    await run(spec, { toHead: true })
    expect(await readEffects(database)).toEqual({ ids: [2, 4], total: 6 })
  })

  test('that a deadlock has rolled back is handled again, and is not for recover', async () => {
    const { database, consume } = await stage(4)
    await database.sql('create table locks (id int primary key, n int not null) engine = InnoDB')
    await database.sql('insert into locks values (1, 0), (2, 0)')
    const other = await database.connect()
    let deadlocks = 0
    const recovered: string[] = []
    const consumer: TestConsumer = {
      handle: async (event, { connection }) => {
        await writeEffect(connection, event)
        if (event.id !== '3' || deadlocks > 0) return
        await connection.query('update locks set n = n + 1 where id = 1')
        // More rows of its own: of two, the server rolls the smaller one back.
        await other.query('start transaction')
        await other.query(
          `insert into locks values ${Array.from({ length: 200 }, (_, i) => `(${i + 10}, 0)`).join(', ')}`,
        )
        await other.query('update locks set n = n + 1 where id = 2')
        const theirs = other
          .query('update locks set n = n + 1 where id = 1')
          .then(() => other.query('commit'))
          .catch(() => {}) // if it was the one that was rolled back
        try {
          await connection.query('update locks set n = n + 1 where id = 2')
        } catch (error) {
          deadlocks++
          throw error
        } finally {
          await theirs
        }
      },
      recover: (_error, { id }) => void recovered.push(id),
    }
    const error = (await errorOf(consume(consumer))) as RunError
    expect([error.eventId, (error.cause as { errno?: number }).errno, error.retriable]).toEqual(['3', 1213, true])
    expect(await readEffects(database)).toEqual(upTo(0))
    await consume(consumer)
    expect([deadlocks, recovered]).toEqual([1, []])
    expect(await readEffects(database)).toEqual(upTo(4))
  })

  test('that the handler has ended is an error that stops the consumer, and its cursor is not saved', async () => {
    const { database, consume, cursor } = await stage(2)
    for (const end of ['commit', 'rollback', 'create table if not exists made_by_handler (id int)']) {
      const failing = consume({ handle: async (_event, { connection }) => void (await connection.query(end)) })
      const error = await errorOf(failing)
      expect([codeOf(error), (error as RunError).retriable]).toEqual(['TRANSACTION_ENDED', false])
      expect(await cursor()).toBe('')
    }
    await consume()
    expect(await readEffects(database)).toEqual(upTo(2))
  })

  test('gives its connection back, whatever became of it', async () => {
    const { database, log } = await stage(6)
    const pool = database.poolOf({ connectionLimit: 1 })
    for (const failing of ['1', '2', '', '3', '4', '']) {
      const spec = mysqlTransactions(
        pool,
        {
          stream: log.source.stream,
          consumer: {
            name: `counter${failing === '' ? Math.random() : failing}`,
            handle: ({ id }) => {
              if (id === failing) throw new Error('refused')
            },
          },
        },
        { maxEvents: 2 },
      )
      await run(spec, { toHead: true }).catch(() => {})
      const connection = await within(pool.getConnection(), 5000, 'getting the only connection')
      connection.release()
    }
  })
})

/** Resolves when somebody stands at the row of a cursor that is locked. */
function lockIsWaitedFor(database: Database): Promise<void> {
  const waiting = async (): Promise<boolean> => {
    const [[count]] = (await database.sql(
      "select count(*) from information_schema.processlist where db = ? and info like '%for update'",
      [database.name],
    )) as [[string | number]]
    return Number(count) > 0
  }
  return eventually(waiting, 5000, 'waiting for the lock of a cursor')
}

describe('a second runner', () => {
  test('that waits for a cursor ends at once when it is aborted, and holds nothing', async () => {
    const { database, log } = await stage(2)
    const pool = database.poolOf({ connectionLimit: 1 })
    const other = await database.connect()
    const spec = mysqlTransactions(pool, {
      stream: async (after, options) => {
        await other.query('start transaction')
        await other.query('select * from cursors for update')
        return log.source.stream(after, options)
      },
      consumer: { name: 'counter', handle: () => expect.fail('it must not get so far') },
    })
    const stop = new AbortController()
    const running = run(spec, { signal: stop.signal })
    await lockIsWaitedFor(database)
    stop.abort(new Error('enough'))
    expect(await within(running, 1000, 'ending')).toEqual({ reason: 'aborted', cursor: '' })
    const connection = await within(pool.getConnection(), 1000, 'getting the only connection')
    connection.release()
    await other.query('rollback')
  })

  test('waits for a transaction, then conflicts before it handles anything', async () => {
    const { database, log, consume } = await stage(6)
    const second = mysqlTransactions(database.pool, {
      stream: log.source.stream,
      consumer: { name: 'counter', handle: () => expect.fail('it must not get so far') },
    })
    const [started, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const reading = Promise.withResolvers<void>()
    const late: RunSpec = {
      ...second,
      // It has its cursor before the first one begins, and its events only then.
      stream: async (after, options) => {
        reading.resolve()
        await started.promise
        return second.stream(after, options)
      },
    }
    const conflict = errorOf(run(late, { toHead: true }))
    await reading.promise
    const first = consume({
      handle: async (event, { connection }) => {
        await writeEffect(connection, event)
        started.resolve()
        if (event.id === '1') await released.promise
      },
    })
    await started.promise
    await lockIsWaitedFor(database)
    released.resolve()
    expect(await first).toBe('6@1')
    const { code, stage: at, cause } = (await conflict) as RunError
    expect([code, at]).toEqual(['CURSOR_CONFLICT', 'handle'])
    expect(cause).toMatchObject({ actual: '6@1', expected: '', reset: false })
    expect(await readEffects(database)).toEqual(upTo(6))
  })

  test('an operator who resets the cursor between two transactions starts the consumer again from there', async () => {
    const { database, log, cursor } = await stage(6)
    const spec = mysqlTransactions(
      database.pool,
      { stream: log.source.stream, consumer: { name: 'counter', handle } },
      { maxEvents: 2 },
    )
    const saved: string[] = []
    const observer = {
      saved: (position: string) => {
        saved.push(position)
      },
    }
    const reset: RunSpec['cursors'] = {
      ...spec.cursors,
      set: async (...save) => {
        await spec.cursors.set(...save)
        if (saved.length === 1) await mysqlCursors(database.pool).reset('counter', '')
      },
    }
    await supervise((o) => run({ ...spec, cursors: reset }, { ...o, toHead: true }), { observer })
    expect(saved).toEqual(['2@1', '4@1', '2@1', '4@1', '6@1'])
    expect(await cursor()).toBe('6@1')
    expect((await readEffects(database)).ids).toEqual([1, 1, 2, 2, 3, 3, 4, 4, 5, 6])
  })
})

describe('what cannot work is refused', () => {
  test('options, and background work', async () => {
    const { pool } = await testDatabase()
    const { stream } = memoryLog().source
    for (const maxEvents of [0, -1, 1.5, Number.NaN]) {
      expect(() => mysqlTransactions(pool, { stream, consumer: { name: 'a', handle } }, { maxEvents })).toThrow(
        'maxEvents',
      )
    }
    const background = { name: 'a', handle, settled: () => undefined }
    expect(() => mysqlTransactions(pool, { stream, consumer: background })).toThrow('settled')
  })
})

describe('its cursors are a cursor store', () => {
  const { host, port } = inject('servers').mysql
  conformance({
    test,
    of: 'cursors',
    runs: 3,
    seed: 1,
    timeLimitMs: 20_000,
    create: async () => {
      const database = await newDatabase({ host, port })
      await mysqlCursors(database.pool).createTable()
      const storeOf = (pool: Pool): RunSpec['cursors'] =>
        mysqlTransactions(pool, { stream: memoryLog().source.stream, consumer: { name: 'p', handle } }).cursors
      return {
        cursors: storeOf(database.pool),
        another: () => storeOf(database.poolOf({})),
        [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
      }
    },
  })
})

interface Plan {
  readonly maxEvents: number
  readonly batchSize: number
  /** The connection of the statement of this number is lost. */
  readonly losses: readonly { readonly at: number; readonly how: Loss }[]
  /** This event fails when it is first handled. */
  readonly poison: number
}

const EVENTS = 8
const plans: fc.Arbitrary<Plan> = fc.record({
  maxEvents: fc.integer({ min: 1, max: 5 }),
  batchSize: fc.integer({ min: 1, max: 6 }),
  losses: fc.array(fc.record({ at: fc.nat({ max: 70 }), how: fc.constantFrom<Loss>('before', 'after') }), {
    maxLength: 3,
  }),
  poison: fc.nat({ max: 2 * EVENTS }),
})

type Variant = (
  pool: Pool,
  log: MemoryLog,
  plan: Plan,
  name: string,
  handle: TransactionalConsumer<PoolConnection>['handle'],
) => RunSpec

const inside: Variant = (pool, { source: { stream } }, { maxEvents }, name, handleIn) =>
  mysqlTransactions(pool, { stream, consumer: { name, handle: handleIn } }, { maxEvents })

/** Broken: the effects are in a transaction of their own, and the cursor is saved after it. */
const outside: Variant = (pool, { source: { stream } }, _plan, name, handleIn) => ({
  stream,
  cursors: mysqlCursors(pool),
  consumer: {
    name,
    handle: async (event, { signal }) => {
      const connection = await pool.getConnection()
      try {
        await connection.beginTransaction()
        await handleIn(event, { connection, signal })
        await connection.commit()
      } finally {
        connection.destroy()
      }
    },
  },
})

/** Plays plans, each with a consumer of its own; the first that has effects more or less often than once is thrown. */
async function playAll(
  database: Database,
  variant: Variant,
  options: { readonly numRuns: number; readonly seed: number },
): Promise<void> {
  await createEffects(database)
  await mysqlCursors(database.pool).createTable()
  let round = 0
  const play = async (plan: Plan): Promise<void> => {
    const name = `counter ${round++}`
    await database.sql('delete from effects')
    await database.sql('update total set amount = 0')
    const log = logOf(EVENTS, plan.batchSize)
    let statements = 0
    const pool = lossyPool(database.pool, () => {
      const number = statements++
      return plan.losses.find(({ at }) => at === number)?.how
    })
    let poisoned = false
    const spec = variant(pool, log, plan, name, async (event, { connection }) => {
      await writeEffect(connection, event)
      if (event.id !== String(plan.poison) || poisoned) return
      poisoned = true
      throw new Error('poison')
    })
    let error: unknown
    for (let life = 0; life < plan.losses.length + 3; life++) {
      error = await run(spec, { toHead: true }).then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
      if (error === undefined) break
    }
    if (error !== undefined) throw error
    const found = await readEffects(database)
    if (!isDeepStrictEqual(found, upTo(EVENTS))) {
      throw new Error(`effects that are not there exactly once: ${JSON.stringify(found)}`)
    }
  }
  await fc.assert(fc.asyncProperty(plans, play), { ...options, endOnFailure: true })
}

const SEED = Number(process.env['REFLEX_BRIDGE_SEED'] ?? 1)

describe('each event has its effect exactly once', () => {
  test('whenever connections are lost, before a statement or after it, a commit included', async () => {
    await playAll(await testDatabase(), inside, { numRuns: 50, seed: SEED })
  })

  test('when the server stands still at a commit, which is noticed within 5 s', async () => {
    const database = await testDatabase()
    await createEffects(database)
    await mysqlCursors(database.pool).createTable()
    await using proxy = await tcpProxy(inject('servers').mysql)
    const pool = database.poolOf({ host: proxy.host, port: proxy.port })
    const { stream } = logOf(4).source
    const spec = mysqlTransactions(pool, {
      stream,
      consumer: {
        name: 'counter',
        handle: async (event, { connection }) => {
          await writeEffect(connection, event)
          if (event.id === '4' && stalled === undefined) {
            proxy.stall()
            stalled = performance.now()
          }
        },
      },
    })
    let stalled: number | undefined
    let noticedMs = Number.POSITIVE_INFINITY
    const cursors: RunSpec['cursors'] = {
      ...spec.cursors,
      set: (...save) =>
        spec.cursors.set(...save).finally(() => {
          noticedMs = performance.now() - (stalled ?? 0)
          proxy.restore()
        }),
    }
    const error = await errorOf(run({ ...spec, cursors }, { toHead: true }), 20_000)
    expect(error).toMatchObject({ code: 'SERVER_UNRESPONSIVE', stage: 'commit' })
    expect(noticedMs).toBeLessThan(5000)
    await run(spec, { toHead: true })
    expect(await readEffects(database)).toEqual(upTo(4))
  })

  test('which a cursor that is saved outside of the transaction does not keep to', async () => {
    const error = await errorOf(playAll(await testDatabase(), outside, { numRuns: 50, seed: SEED }), 60_000)
    expect(String(error)).toContain('not there exactly once')
  })

  test('when the process is killed', async () => {
    const database = await testDatabase()
    await createEffects(database)
    await mysqlCursors(database.pool).createTable()
    const events = mysqlEvents(database.pool)
    await events.createTable()
    const connection = await database.connect()
    await events.insert(connection, ...numbered(150))
    const { host, port } = inject('servers').mysql
    const url = `mysql://root@${host}:${port}/${database.name}`
    for (let round = 0; round < 4; round++) {
      const process = start(url)
      let lines = 0
      // At the lines between which a save is, in turn: while events are handled, and while they are committed.
      for await (const _ of process.lines) if (++lines === 7 + round) break
      await process.kill()
    }
    expect((await readEffects(database)).ids.length).toBeLessThan(150)
    expect(await start(url, 'head').ended).toBe(0)
    expect(await readEffects(database)).toEqual(upTo(150))
  }, 60_000)

  test('when the server is killed', async () => {
    const server = await startServer('mysql', { from: ['docker', 'native'] })
    onTestFinished(() => server[Symbol.asyncDispose]())
    const database = await testDatabase(server)
    await createEffects(database)
    await mysqlCursors(database.pool).createTable()
    const events = mysqlEvents(database.pool, { batchSize: 20 })
    await events.createTable()
    await events.insert(await database.connect(), ...numbered(400))
    let handled = 0
    let reached = Promise.withResolvers<void>()
    const spec = mysqlTransactions(
      database.pool,
      {
        stream: events.source.stream,
        consumer: {
          name: 'counter',
          handle: async (event, { connection }) => {
            await writeEffect(connection, event)
            if (++handled % 40 === 0) reached.resolve()
          },
        },
      },
      { maxEvents: 5 },
    )
    const consuming = supervise((o) => run(spec, { ...o, toHead: true }), { minDelayMs: 10, maxDelayMs: 100 })
    for (let round = 0; round < 2; round++) {
      await reached.promise
      reached = Promise.withResolvers()
      await server.process?.kill()
      await server.process?.start()
    }
    expect(await within(consuming, 30_000, 'reading to the head')).toMatchObject({ reason: 'head' })
    expect(await readEffects(database)).toEqual(upTo(400))
  }, 120_000)
})

/** `count-effects.ts` in a process of its own. */
function start(...args: string[]): {
  readonly lines: AsyncIterable<string>
  readonly ended: Promise<unknown>
  kill(): Promise<unknown>
} {
  const file = fileURLToPath(new URL('count-effects.ts', import.meta.url))
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', file, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const ended = once(child, 'exit').then(([code]) => code as unknown)
  const lines = createInterface(child.stdout)
  return {
    lines,
    ended,
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}
