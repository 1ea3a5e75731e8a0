import fc from 'fast-check'
import type { PoolConnection } from 'mysql2/promise'
import { describe, expect, test, vi } from 'vitest'
import {
  type MysqlDeadLetters,
  type MysqlDeadLettersOptions,
  mysqlCursors,
  mysqlDeadLetters,
  mysqlEvents,
  mysqlTransactions,
} from '../../src/adapters/mysql/index.ts'
import type { Consumer } from '../../src/core/consumer.ts'
import { codeOf, type RunError } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { run } from '../../src/core/run.ts'
import { deadLetter, type RetryPolicy } from '../../src/patterns/index.ts'
import { arbitraryEvent, comparable } from '../tools/arbitrary-event.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { type Database, testDatabase } from './database.ts'
import { lossyPool } from './lossy-pool.ts'
import { createEffects, readEffects, writeEffect } from './write-effect.ts'

interface Stage {
  readonly database: Database
  readonly letters: MysqlDeadLetters<PoolConnection>
}

async function stage(options: MysqlDeadLettersOptions = {}): Promise<Stage> {
  const database = await testDatabase()
  const letters = mysqlDeadLetters(database.pool, options)
  await letters.createTable()
  return { database, letters }
}

function eventOf(id: string, rest: Partial<Event> = {}): Event {
  return { id, type: 1, foreignId: `e${id}`, timestamp: 0, metadata: Buffer.from(id), headers: {}, ...rest }
}

const idsOf = async (letters: MysqlDeadLetters<never>, consumer?: string): Promise<string[]> =>
  (await letters.list({ consumer })).map(({ eventId }) => eventId)

describe('record', () => {
  test('keeps all of the event, also when the source has it no longer', async () => {
    const { letters } = await stage()
    let count = 0
    const play = async (given: Parameters<typeof comparable>[0]): Promise<void> => {
      const event = { metadata: null, headers: {}, timestamp: 0, ...given, id: `${count++}` }
      const consumer = `consumer ${event.id}`
      await letters.record(consumer, new Error('refused'), event)
      const [letter] = await letters.list({ consumer })
      expect(letter).toMatchObject({ consumer, eventId: event.id, message: 'refused', attempts: 1, status: 'open' })
      expect(letter?.event?.id).toBe(event.id)
      expect(letter?.event?.timestamp).toBe(event.timestamp)
      expect(comparable(letter?.event as Event)).toEqual(comparable(event))
      const handled: Event[] = []
      await letters.retry({ name: consumer, handle: (again) => void handled.push(again) })
      expect(handled).toEqual([letter?.event])
    }
    await fc.assert(fc.asyncProperty(arbitraryEvent(), play), { numRuns: 40, seed: 1, endOnFailure: true })
  })

  test('is once per consumer and event, whoever does it at once; each time is an attempt', async () => {
    const { letters } = await stage()
    for (const consumer of ['a', 'b', 'A']) {
      for (const message of ['first', 'second']) await letters.record(consumer, new Error(message), eventOf('7-1'))
    }
    const all = await letters.list()
    expect(all.map(({ consumer, message, attempts }) => [consumer, message, attempts])).toEqual([
      ['a', 'second', 2],
      ['b', 'second', 2],
      ['A', 'second', 2],
    ])
  })

  test('is part of the transaction of the connection it is given', async () => {
    const { database, letters } = await stage()
    await using connection = await database.pool.getConnection()
    for (const outcome of ['rollback', 'commit'] as const) {
      await connection.beginTransaction()
      await letters.record('a', new Error('refused'), eventOf(outcome), { connection })
      await connection[outcome]()
    }
    expect(await idsOf(letters)).toEqual(['commit'])
  })

  test('opens a letter again that was resolved', async () => {
    const { letters } = await stage()
    await letters.record('a', new Error('one'), eventOf('1'))
    const [letter] = await letters.list()
    await letters.resolve(letter?.id ?? '')
    expect(await letters.list()).toEqual([])
    await letters.record('a', new Error('two'), eventOf('1'))
    expect(await letters.list()).toMatchObject([{ id: letter?.id, message: 'two', attempts: 2, status: 'open' }])
  })

  test('tells of each event that becomes a dead letter in an event table, in the same transaction', async () => {
    const database = await testDatabase()
    const events = mysqlEvents(database.pool, { table: 'consumer_errors_events' })
    await events.createTable()
    const letters = mysqlDeadLetters(database.pool, { events })
    await letters.createTable()
    await using connection = await database.pool.getConnection()
    await connection.beginTransaction()
    await letters.record('ä', new Error('x'), eventOf('0'), { connection })
    await connection.rollback()
    for (const id of ['1', '2', '1']) await letters.record('ä', new Error('x'), eventOf(id))
    const ids = (await letters.list()).map(({ id }) => id)
    await using stream = reader(await events.source.stream('', { toHead: true }))
    expect(await stream.rest()).toMatchObject(
      ids.map((foreignId) => ({ type: 1, foreignId, metadata: Buffer.from('ä') })),
    )
  })

  test('refuses what it could not give back, and bounds the message', async () => {
    const { letters } = await stage()
    for (const [consumer, id] of [
      ['x'.repeat(256), '1'],
      ['a', 'x'.repeat(256)],
      ['\ud800', '1'],
    ] as const) {
      expect(codeOf(await errorOf(letters.record(consumer, new Error('x'), eventOf(id))))).toBe('OPTION_INVALID')
    }
    expect(await letters.list()).toEqual([])
    const cause = new Error('the cause \ud800')
    await letters.record('a', new Error('🪵'.repeat(100_000), { cause }), eventOf('1'))
    await letters.record('a', new Error('outer', { cause }), eventOf('2'))
    await letters.record('a', 'no error at all', eventOf('3'))
    const [long, caused, plain] = (await letters.list()).map(({ message }) => message)
    expect(long).toBe('🪵'.repeat(10_000))
    expect(caused).toBe('outer: the cause \ufffd')
    expect(plain).toBe('no error at all')
  })
})

describe('list', () => {
  test('has pages, of one consumer or all, open or resolved', async () => {
    const { letters } = await stage()
    for (let i = 0; i < 12; i++) await letters.record(i % 3 === 0 ? 'a' : 'b', new Error('x'), eventOf(String(i)))
    const first = await letters.list({ consumer: 'b', limit: 5 })
    const rest = await letters.list({ consumer: 'b', limit: 5, after: first.at(-1)?.id })
    expect([first, rest].map((page) => page.map(({ eventId }) => eventId))).toEqual([
      ['1', '2', '4', '5', '7'],
      ['8', '10', '11'],
    ])
    await letters.resolve(first[0]?.id ?? '')
    expect(await idsOf(letters, 'b')).toEqual(['2', '4', '5', '7', '8', '10', '11'])
    expect(await letters.list({ status: 'resolved' })).toMatchObject([{ eventId: '1', status: 'resolved' }])
    const at = first[0]?.createdAt ?? 0
    expect(Math.abs(at - Date.now())).toBeLessThan(60_000)
  })

  test('refuses limits and ids that are none, and a letter that is not there', async () => {
    const { letters } = await stage()
    for (const limit of [0, 1001, 1.5, Number.NaN]) {
      expect(codeOf(await errorOf(letters.list({ limit })))).toBe('OPTION_INVALID')
      expect(codeOf(await errorOf(letters.retry({ name: 'a', handle: () => {} }, { limit })))).toBe('OPTION_INVALID')
    }
    for (const id of ['', '1 or 1', '-1', 'x'])
      expect(codeOf(await errorOf(letters.resolve(id)))).toBe('OPTION_INVALID')
    expect(codeOf(await errorOf(letters.resolve('77')))).toBe('DEAD_LETTER_MISSING')
  })
})

describe('retry', () => {
  test('resolves what is handled now, and counts the attempts at the others', async () => {
    const { letters } = await stage()
    for (const id of ['1', '2', '3']) await letters.record('a', new Error('then'), eventOf(id))
    await letters.record('b', new Error('then'), eventOf('1'))
    const handled: string[] = []
    const consumer = {
      name: 'a',
      handle: ({ id }: Event) => {
        handled.push(id)
        if (id !== '2') throw new Error('still')
      },
    }
    expect(await letters.retry(consumer)).toEqual({ resolved: 1, failed: 2 })
    expect(await letters.retry(consumer, { limit: 1 })).toEqual({ resolved: 0, failed: 1 })
    expect(handled).toEqual(['1', '2', '3', '1'])
    expect(
      (await letters.list()).map(({ consumer: of, eventId, attempts, message }) => [of, eventId, attempts, message]),
    ).toEqual([
      ['a', '1', 3, 'still'],
      ['a', '3', 2, 'still'],
      ['b', '1', 1, 'then'],
    ])
  })

  test('has the effects and the resolution in one transaction, exactly once whatever connection is lost', async () => {
    const database = await testDatabase()
    await createEffects(database)
    await mysqlDeadLetters(database.pool).createTable()
    const play = async (at: number, how: 'before' | 'after'): Promise<void> => {
      await database.sql('delete from consumer_errors')
      await database.sql('delete from effects')
      await database.sql('update total set amount = 0')
      for (const id of ['1', '2', '3']) await mysqlDeadLetters(database.pool).record('a', new Error('x'), eventOf(id))
      let statements = 0
      const letters = mysqlDeadLetters(lossyPool(database.pool, () => (statements++ === at ? how : undefined)))
      const consumer = {
        name: 'a',
        handle: (event: Event, { connection }: { readonly connection: PoolConnection }) =>
          writeEffect(connection, event),
      }
      await letters.retry(consumer).catch(() => {})
      // Until the server has seen that a connection is gone, that letter is locked, and a retry passes over it.
      await vi.waitFor(
        async () => {
          await letters.retry(consumer)
          expect(await letters.list()).toEqual([])
        },
        { timeout: 10_000 },
      )
      expect(await readEffects(database)).toEqual({ ids: [1, 2, 3], total: 6 })
    }
    const losses = fc.tuple(fc.nat({ max: 30 }), fc.constantFrom<'before' | 'after'>('before', 'after'))
    await fc.assert(
      fc.asyncProperty(losses, ([at, how]) => play(at, how)),
      { numRuns: 30, seed: 1, endOnFailure: true },
    )
  })

  test('undoes what a handler wrote before it failed', async () => {
    const { database, letters } = await stage()
    await createEffects(database)
    await letters.record('a', new Error('x'), eventOf('1'))
    const retried = await letters.retry({
      name: 'a',
      handle: async (event, { connection }) => {
        await writeEffect(connection, event)
        throw new Error('still')
      },
    })
    expect(retried).toEqual({ resolved: 0, failed: 1 })
    expect(await readEffects(database)).toEqual({ ids: [], total: 0 })
  })

  test('of two at once takes different letters, and what is open no more is not handled', async () => {
    const { letters } = await stage()
    for (let i = 0; i < 10; i++) await letters.record('a', new Error('x'), eventOf(String(i)))
    const handled: string[] = []
    const consumer = { name: 'a', handle: async ({ id }: Event) => void handled.push(id) }
    const all = await Promise.all([letters.retry(consumer), letters.retry(consumer), letters.retry(consumer)])
    expect(handled.toSorted()).toEqual(Array.from({ length: 10 }, (_, i) => String(i)))
    expect(all.reduce((sum, { resolved }) => sum + resolved, 0)).toBe(10)
  })

  test('resolves nothing where the handler has ended the transaction', async () => {
    const { letters } = await stage()
    await letters.record('a', new Error('x'), eventOf('1'))
    for (const end of ['rollback', 'commit'] as const) {
      const error = await errorOf(letters.retry({ name: 'a', handle: (_event, { connection }) => connection[end]() }))
      expect(codeOf(error)).toBe('TRANSACTION_ENDED')
    }
    expect(await idsOf(letters)).toEqual(['1'])
  })

  test('ends by its signal, and an attempt that was cut short is none', async () => {
    const { letters } = await stage()
    for (const id of ['1', '2']) await letters.record('a', new Error('x'), eventOf(id))
    const stop = new AbortController()
    const error = await errorOf(
      letters.retry(
        {
          name: 'a',
          handle: (_event, { signal }) => {
            stop.abort(new Error('enough'))
            signal.throwIfAborted()
          },
        },
        { signal: stop.signal },
      ),
    )
    expect(error).toEqual(new Error('enough'))
    expect((await letters.list()).map(({ attempts }) => attempts)).toEqual([1, 1])
  })
})

describe('a consumer with recover', () => {
  const refusing = ({ id }: Event): void => {
    if (Number(id) % 2 === 0) throw new Error(`refused ${id}`)
  }

  test('records and goes on', async () => {
    const { letters } = await stage()
    const log = memoryLog()
    log.append(...numbered(5))
    const consumer = {
      name: 'mailer',
      handle: refusing,
      recover: (...failed: [unknown, Event, { signal: AbortSignal }]) => letters.record('mailer', ...failed),
    }
    expect(
      (await run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true })).cursor,
    ).toBe('5@1')
    log.trim('5')
    expect(
      (await letters.list({ consumer: 'mailer' })).map(({ event, message }) => [event?.foreignId, message]),
    ).toEqual([
      ['e1', 'refused 2'],
      ['e3', 'refused 4'],
    ])
  })

  test('whose letters cannot be recorded does not go past them', async () => {
    const { database, letters } = await stage()
    const log = memoryLog()
    log.append(...numbered(5))
    const cursors = memoryCursors()
    const consumer = {
      name: 'mailer',
      handle: refusing,
      recover: (...failed: [unknown, Event, { signal: AbortSignal }]) => letters.record('mailer', ...failed),
    }
    await database.sql('rename table consumer_errors to elsewhere')
    const error = (await errorOf(run({ stream: log.source.stream, cursors, consumer }, { toHead: true }))) as RunError
    expect([error.code, error.eventId]).toEqual(['TABLE_MISSING', '2'])
    expect(await cursors.get('mailer')).toBe('1@1')
    await database.sql('rename table elsewhere to consumer_errors')
    await run({ stream: log.source.stream, cursors, consumer }, { toHead: true })
    expect(await idsOf(letters)).toEqual(['2', '4'])
  })

  test('in transactions has its letters there exactly when the cursor has passed them', async () => {
    const { database, letters } = await stage()
    await createEffects(database)
    const cursors = mysqlCursors(database.pool)
    await cursors.createTable()
    const log = memoryLog()
    log.append(...numbered(6))
    const spec = mysqlTransactions(database.pool, {
      stream: log.source.stream,
      consumer: {
        name: 'mailer',
        handle: async (event, { connection }) => {
          await writeEffect(connection, event)
          if (event.id === '5') expect(await idsOf(letters)).toEqual([]) // not committed yet
          refusing(event)
        },
        recover: async (...failed) => {
          await letters.record('mailer', ...failed)
          if (failed[1].id === '6') throw failed[0]
        },
      },
    })
    expect(await errorOf(run(spec, { toHead: true }))).toMatchObject({ eventId: '6' })
    expect(await cursors.get('mailer')).toBe('5@1')
    expect(await idsOf(letters)).toEqual(['2', '4'])
    expect(await readEffects(database)).toEqual({ ids: [1, 3, 5], total: 9 })
  })
})

describe('a table of luno/reflex', () => {
  const layout = (eventId: string): string => `create table consumer_errors (
    id bigint not null auto_increment primary key, consumer varchar(255) not null, event_id ${eventId} not null,
    error_msg text not null, created_at datetime(6) not null, updated_at datetime(6) not null, error_status int not null,
    unique index (consumer, event_id)) default charset utf8mb4`
  const ADDED =
    'alter table consumer_errors add attempts int not null default 0, add event longtext null, add metadata longblob null'
  /** What a Go service runs. */
  const goInsert = `insert into consumer_errors set consumer = 'go', event_id = ?, error_msg = 'failed', created_at = now(6),
    updated_at = now(6), error_status = 1 on duplicate key update id = last_insert_id(id)`

  test('is shared with Go services: theirs are listed and resolved, and have no event to retry', async () => {
    const database = await testDatabase()
    await database.sql(layout('bigint'))
    const letters = mysqlDeadLetters(database.pool)
    expect(codeOf(await errorOf(letters.record('a', new Error('x'), eventOf('1'))))).toBe('TABLE_LAYOUT')
    await database.sql(ADDED)
    await database.sql(goInsert, ['41'])
    await letters.record('go', new Error('x'), eventOf('9223372036854775807'))
    await database.sql(goInsert, ['9223372036854775807'])
    const [theirs, ours] = await letters.list({ consumer: 'go' })
    expect(theirs).toMatchObject({ eventId: '41', event: undefined, attempts: 0, message: 'failed', status: 'open' })
    expect(ours?.event).toEqual(eventOf('9223372036854775807'))
    expect(await letters.retry({ name: 'go', handle: () => {} })).toEqual({ resolved: 1, failed: 0 })
    await letters.resolve(theirs?.id ?? '')
    expect(await letters.list()).toEqual([])
  })

  test('with other names of columns is used under them', async () => {
    const database = await testDatabase()
    const columns = {
      id: 'no',
      consumer: 'who',
      eventId: 'which',
      message: 'why',
      createdAt: 'made',
      updatedAt: 'touched',
      status: 'state',
    }
    const letters = mysqlDeadLetters(database.pool, { table: 'failures', columns })
    await letters.createTable()
    await letters.record('a', new Error('x'), eventOf('1'))
    expect(await database.sql('select no, who, which, why, state, attempts from failures')).toEqual(
      [[1, 'a', '1', 'x', 1, 1]].map(([no, ...rest]) => [String(no), ...rest]),
    )
    expect(await letters.retry({ name: 'a', handle: () => {} })).toEqual({ resolved: 1, failed: 0 })
    expect(() => mysqlDeadLetters(database.pool, { columns: { id: 'a`b' } })).toThrow('column name')
    expect(() => mysqlDeadLetters(database.pool, { columns: { when: 'a' } as never })).toThrow('when')
    expect(() => mysqlDeadLetters(database.pool, { table: 'a`b' })).toThrow('table name')
  })

  test('what luno/reflex gets wrong: ids of events are integers, and others become one', async () => {
    const database = await testDatabase()
    await database.sql(layout('bigint'))
    await database.sql(ADDED)
    const pool = database.poolOf({ connectionLimit: 1 })
    const connection = await pool.getConnection()
    await connection.query("set session sql_mode = ''")
    connection.release()
    const letters = mysqlDeadLetters(pool)
    const error = await errorOf(letters.record('a', new Error('x'), eventOf('1700000000000-7')))
    expect([codeOf(error), (error as { retriable?: boolean }).retriable]).toEqual(['TABLE_LAYOUT', false])
    expect(await letters.list()).toEqual([])
  })
})

describe('what luno/reflex gets wrong', () => {
  test('the consumer and the event change places on their way to the recorder', async () => {
    const { letters } = await stage()
    const log = memoryLog()
    log.append(...numbered(1))
    const consumer = {
      name: 'mailer',
      handle: () => {
        throw new Error('refused')
      },
      recover: (...failed: [unknown, Event, { signal: AbortSignal }]) => letters.record('mailer', ...failed),
    }
    await run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true })
    expect(await letters.list()).toMatchObject([{ consumer: 'mailer', eventId: '1' }])
  })

  test('an event whose handler was aborted is dropped without a record', async () => {
    const { letters } = await stage()
    const log = memoryLog()
    log.append(...numbered(1))
    const cursors = memoryCursors()
    const stop = new AbortController()
    const consumer = {
      name: 'mailer',
      handle: (_event: Event, { signal }: { signal: AbortSignal }) => {
        stop.abort(new Error('enough'))
        signal.throwIfAborted()
      },
      recover: (...failed: [unknown, Event, { signal: AbortSignal }]) => letters.record('mailer', ...failed),
    }
    await run({ stream: log.source.stream, cursors, consumer }, { signal: stop.signal })
    expect([await letters.list(), await cursors.get('mailer')]).toEqual([[], ''])
  })

  test('a long message is in the way of recording', async () => {
    const { letters } = await stage()
    await letters.record('a', new Error('x'.repeat(70_000)), eventOf('1'))
    expect(await idsOf(letters)).toEqual(['1'])
  })

  test('nobody can read, retry or resolve what was recorded', async () => {
    const { letters } = await stage()
    for (const id of ['1', '2']) await letters.record('a', new Error('x'), eventOf(id))
    const [first, second] = await letters.list()
    await letters.resolve(first?.id ?? '')
    const handled: (string | undefined)[] = []
    await letters.retry({ name: 'a', handle: ({ id }) => void handled.push(id) })
    expect(handled).toEqual([second?.eventId])
    expect(await letters.list({ status: 'resolved' })).toHaveLength(2)
  })
})

test('the settings of sessions and of the pool do not matter', async () => {
  const { database } = await stage()
  const pool = database.poolOf({ connectionLimit: 1, rowsAsArray: true, nestTables: '_', charset: 'latin1' })
  const connection = await pool.getConnection()
  await connection.query("set session sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES', time_zone = '+05:00'")
  await connection.query('use information_schema')
  connection.release()
  const letters = mysqlDeadLetters(pool)
  const event = eventOf('ключ', { foreignId: `a'"\\ 🪵`, metadata: Buffer.from(`\\'\u0000`) })
  await letters.record(`a'"\\`, new Error('ключ 🪵'), event)
  const [letter] = await letters.list()
  expect(letter).toMatchObject({ consumer: `a'"\\`, eventId: 'ключ', message: 'ключ 🪵', event })
  expect(Math.abs((letter?.createdAt ?? 0) - Date.now())).toBeLessThan(60_000)
})

describe('attempt', () => {
  test('counts the attempts at what is failing, which is neither open nor tried again, until it is recorded or resolved', async () => {
    const { letters } = await stage()
    const attempts = async (error: string): Promise<unknown> =>
      (await letters.attempt('a', new Error(error), eventOf('1'))).attempts
    const list = async (): Promise<unknown> => {
      const page = async (status: 'failing' | 'open' | 'resolved'): Promise<unknown> =>
        (await letters.list({ consumer: 'a', status })).map((each) => [each.status, each.attempts])
      return [...((await page('failing')) as []), ...((await page('open')) as []), ...((await page('resolved')) as [])]
    }
    expect([await attempts('x'), await attempts('y'), await list()]).toEqual([1, 2, [['failing', 2]]])
    expect(await letters.retry({ name: 'a', handle: () => {} })).toEqual({ resolved: 0, failed: 0 })
    await letters.record('a', new Error('y'), eventOf('1'))
    expect(await list()).toEqual([['open', 2]]) // the failure was counted when it came
    expect([await attempts('z'), await list()]).toEqual([3, [['open', 3]]]) // met again: it stays open
    const [letter] = await letters.list({ consumer: 'a' })
    await letters.resolve(letter?.id as string)
    expect(await list()).toEqual([['resolved', 3]])
    const anew = await letters.attempt('a', new Error('x'), eventOf('1'))
    expect([anew.id, anew.eventId, anew.attempts, await list()]).toEqual([letter?.id, '1', 1, [['failing', 1]]])
    expect(anew.createdAt).toBeGreaterThan(letter?.createdAt as number)
    await letters.resolve(anew.id)
    await letters.record('a', new Error('x'), eventOf('1'))
    expect(await list()).toEqual([['open', 2]])
  })

  test('survives a restart of the consumer: the policy goes on counting', async () => {
    const { database, letters } = await stage()
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a' }, { type: 1, foreignId: 'b' })
    const cursors = mysqlCursors(database.pool)
    await cursors.createTable()
    let calls = 0
    const live = async (): Promise<string> => {
      const stop = new AbortController()
      const consumer: Consumer = {
        name: 'mailer',
        handle: ({ id }) => {
          if (id !== '1') return
          calls++
          throw new Error('refused')
        },
      }
      const policy: RetryPolicy = ({ attempt }) => {
        if (attempt === 3) return 'stop'
        stop.abort() // once it is stored
        return 60_000
      }
      const dead = deadLetter(consumer, { letters: mysqlDeadLetters(database.pool), policy })
      const ended = await run(
        { stream: log.source.stream, cursors, consumer: dead },
        { toHead: true, signal: stop.signal },
      )
      return `${ended.reason} ${ended.cursor}`
    }
    expect([await live(), await live(), await live()]).toEqual(['aborted ', 'aborted ', 'head 2@1'])
    expect(calls).toBe(3)
    expect(await letters.list()).toMatchObject([{ consumer: 'mailer', eventId: '1', attempts: 3, message: 'refused' }])
  })
})
