import { setImmediate as turn } from 'node:timers/promises'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Cursor } from '../../src/core/event.ts'
import type { StreamFunc, StreamOptions } from '../../src/core/stream.ts'
import { tableStreams } from '../../src/sql/table-stream.ts'
import { createWakeups } from '../../src/sql/wakeups.ts'
import { errorOf, reader, within } from '../tools/reader.ts'
import { type SimulatedTable, seeded, simulatedNotifier, simulatedTable, turningClock } from './simulated-table.ts'

const turns = async (count: number): Promise<void> => {
  for (let left = count; left > 0; left--) await turn()
}

/** A consumer: it opens after so many turns at one of the rows there are, and takes so many turns for each batch. */
const consumer = fc.record({
  opensAfter: fc.nat({ max: 60 }),
  resumes: fc.boolean(),
  turnsEach: fc.constantFrom(0, 0, 1, 3, 30),
  /** Closes and resumes after so many batches. */
  lasts: fc.integer({ min: 1, max: 40 }),
  types: fc.constantFrom(undefined, undefined, [0]),
})
const schedule = fc.record({
  seed: fc.integer(),
  writing: fc.integer({ min: 1, max: 4 }),
  transactions: fc.integer({ min: 1, max: 25 }),
  consumers: fc.array(consumer, { minLength: 1, maxLength: 6 }),
  batchSize: fc.integer({ min: 1, max: 4 }),
  hears: fc.constantFrom('polls', 'wake-ups', 'hints'),
})

test('every stream gets what is committed after its cursor, once and in order, by polling, by wake-ups alone or by hints alone', async () => {
  await fc.assert(
    fc.asyncProperty(schedule, async ({ seed, writing, transactions, consumers, batchSize, hears }) => {
      const random = seeded(seed)
      const table = simulatedTable(random)
      const [here, there] = [createWakeups(), simulatedNotifier(random)]
      // The writers' own object, in this process or in another one.
      const [writers, readers] =
        hears === 'hints' ? [createWakeups({ notifier: there }), createWakeups({ notifier: there })] : [here, here]
      const stream = tableStreams('simulated', table.connect, readers, {
        batchSize,
        pollMs: { min: 1, max: 8 },
        clock: turningClock({ stands: hears !== 'polls' }),
      })
      let written = false
      const write = async (): Promise<void> => {
        for (let left = transactions; left > 0; left--) {
          const transaction = table.begin()
          for (let rows = Math.ceil(random() * 3); rows > 0; rows--) {
            transaction.insert()
            await turns(random() * 4)
          }
          if (random() < 0.3) transaction.rollback()
          else {
            transaction.commit()
            if (hears !== 'polls') writers.wake()
          }
          await turns(random() * 6)
        }
      }
      const reached = consumers.map(() => 0)
      const consume = async (each: (typeof consumers)[number], index: number): Promise<void> => {
        await turns(each.opensAfter)
        const rows = table.committed
        const from = each.resumes ? (rows[Math.floor(random() * rows.length)] ?? 0) : 0
        reached[index] = from
        const taken: number[] = []
        let cursor: Cursor = String(from)
        const isThrough = (): boolean => written && Number(cursor) >= (table.committed.at(-1) ?? 0)
        while (!isThrough()) {
          await using open = await stream(cursor, { types: each.types })
          let left = each.lasts
          for await (const { events, cursor: passed } of open) {
            taken.push(...events.map(({ id }) => Number(id)))
            cursor = passed
            reached[index] = Number(cursor)
            await turns(each.turnsEach)
            if (--left === 0 || isThrough()) break
          }
        }
        const wanted = table.committed.filter((id) => id > from && (each.types === undefined || id % 2 === 0))
        expect(taken).toEqual(wanted)
      }
      const writeAll = async (): Promise<void> => {
        await Promise.all(Array.from({ length: writing }, write))
        // A wake-up that is lost is not made up for by the next one: each event has to come by its own.
        for (let left = 8; left > 0; left--) {
          const one = table.begin()
          one.insert()
          await turns(random() * 8)
          one.commit()
          const last = table.committed.at(-1) as number
          written = left === 1
          if (hears !== 'polls') writers.wake()
          while (reached.some((each) => each < last)) await turn()
        }
      }
      await within(Promise.all([writeAll(), ...consumers.map(consume)]), 10_000, 'reading all')
      expect(table.readers.open).toBe(0)
    }),
    { numRuns: 100 },
  )
}, 60_000)

/** What `count` streams at the head cost while `events` are committed one by one. */
async function costOf(count: number, events: number): Promise<{ pages: number; open: number }> {
  const { table, wakeups, stream } = subject()
  commit(table, 1)
  const readers = await Promise.all(Array.from({ length: count }, async () => reader(await stream('', {}))))
  await Promise.all(readers.map((each) => each.take(1)))
  const reads = readers.map((each) => each.take(events))
  await turns(50)
  const before = table.pages
  for (let left = events; left > 0; left--) {
    commit(table, 1)
    wakeups.wake()
    await turns(Math.ceil(left % 9))
  }
  await Promise.all(reads)
  const { open } = table.readers
  const pages = table.pages - before
  for (const each of readers) await each[Symbol.asyncDispose]()
  expect(table.readers.open).toBe(0)
  return { pages, open }
}

function subject({ batchSize = 1000 } = {}) {
  const table = simulatedTable(seeded(1))
  const wakeups = createWakeups()
  const options = { batchSize, clock: turningClock({ stands: true }) }
  const stream: StreamFunc = tableStreams('simulated', table.connect, wakeups, options)
  const open = async (after: Cursor = '', streamOptions: StreamOptions = {}) =>
    reader(await stream(after, streamOptions), after)
  return { table, wakeups, stream, open }
}

function commit(table: SimulatedTable, rows: number): void {
  const transaction = table.begin()
  for (let left = rows; left > 0; left--) transaction.insert()
  transaction.commit()
}

test('twenty streams at the head cost less than twice what one costs, and one reader', async () => {
  const [one, twenty] = [await costOf(1, 200), await costOf(20, 200)]
  expect(twenty.pages).toBeLessThan(2 * one.pages)
  expect([one.open, twenty.open]).toEqual([1, 1])
})

test('a stream that takes its time holds nobody up, is not read ahead for, and goes on by itself', async () => {
  const { table, wakeups, open } = subject({ batchSize: 10 })
  commit(table, 1)
  const [fast, slow] = [await open(), await open()]
  await Promise.all([fast.take(1), slow.take(1)])
  for (let pages = 0; pages < 50; pages++) {
    const read = fast.take(10)
    commit(table, 10)
    wakeups.wake()
    await read
  }
  expect(table.readers.open).toBe(1)
  const ids = (await slow.take(500)).map(({ id }) => Number(id))
  expect(ids).toEqual(Array.from({ length: 500 }, (_, i) => i + 2))
  expect(table.readers.most).toBe(2)
  const reads = [fast.take(1), slow.take(1)]
  commit(table, 1)
  wakeups.wake()
  await Promise.all(reads)
  expect(table.readers.open).toBe(1) // both are at the head again
  for (const each of [fast, slow]) await each[Symbol.asyncDispose]()
})

test('a stream at the head does not wait until all is read that others have left unread', async () => {
  const { table, wakeups, open } = subject({ batchSize: 10 })
  commit(table, 1)
  const behind = await open()
  await behind.take(1)
  commit(table, 1000)
  const ahead = await open('1000')
  const before = table.pages
  expect((await ahead.take(1)).map(({ id }) => id)).toEqual(['1001'])
  const read = ahead.take(1)
  commit(table, 1)
  wakeups.wake()
  await read
  expect(table.pages - before).toBeLessThan(5)
  expect((await behind.take(1001)).at(-1)?.id).toBe('1002')
  for (const each of [behind, ahead]) await each[Symbol.asyncDispose]()
  expect(table.readers.open).toBe(0)
})

test('streams that are far behind page each by itself, until they are at the head', async () => {
  const { table, open } = subject({ batchSize: 10 })
  commit(table, 1005)
  const streams = [await open(), await open()]
  await Promise.all(streams.map((each) => each.take(20)))
  expect(table.readers.open).toBe(2)
  await Promise.all(streams.map((each) => each.take(985)))
  expect(table.readers.open).toBe(1)
  for (const each of streams) await each[Symbol.asyncDispose]()
})

test('no page is read before the streams have handled what they have', async () => {
  const { table, wakeups, open } = subject({ batchSize: 10 })
  commit(table, 1)
  const streams = [await open(), await open()]
  const first = streams.map((each) => each.take(2))
  await turns(50)
  commit(table, 1)
  wakeups.wake()
  await Promise.all(first)
  const before = table.pages
  commit(table, 30)
  wakeups.wake()
  await turns(50)
  expect(table.pages).toBe(before)
  for (const each of streams) await each[Symbol.asyncDispose]()
})

test('what fails for one fails for all that read along, after what was read; a stream that is opened then starts anew', async () => {
  const { table, wakeups, open } = subject()
  commit(table, 1)
  const [slow, ...others] = [await open(), await open(), await open()]
  await Promise.all([slow, ...others].map((each) => each.take(1)))
  const reads = others.map((each) => each.take(1))
  await turns(20)
  commit(table, 1)
  wakeups.wake()
  await Promise.all(reads)
  const broken = new Error('the connection is lost')
  table.failNext(broken)
  wakeups.wake()
  expect(await Promise.all(others.map((each) => errorOf(each.take(1))))).toEqual([broken, broken])
  expect(table.readers.open).toBe(0)
  expect((await slow.take(1)).map(({ id }) => id)).toEqual(['2'])
  expect(await errorOf(slow.take(1))).toBe(broken)

  const again = [await open('2'), await open('2')]
  for (const id of ['3', '4']) {
    const reading = again.map((each) => each.take(1))
    await turns(20)
    commit(table, 1)
    wakeups.wake()
    for (const read of reading) expect((await read).map((event) => event.id)).toEqual([id])
  }
  expect(table.readers.open).toBe(1)
  for (const each of [slow, ...others, ...again]) await each[Symbol.asyncDispose]()
})

test('a row that is gone is noticed by all who stand at it', async () => {
  const { table, wakeups, open } = subject()
  commit(table, 2)
  const streams = [await open(), await open()]
  await Promise.all(streams.map((each) => each.take(2)))
  const failing = streams.map((each) => errorOf(each.take(1)))
  await turns(20)
  table.delete(2)
  commit(table, 1)
  wakeups.wake()
  for (const error of await Promise.all(failing)) expect(error).toMatchObject({ code: 'CURSOR_TRIMMED', cursor: '2' })
  for (const each of streams) await each[Symbol.asyncDispose]()
})

test('a stream from the beginning of a table that was emptied under another one waits, and asks no more than that one', async () => {
  const { table, wakeups, open } = subject()
  commit(table, 2)
  const before = await open()
  await before.take(2)
  const failing = errorOf(before.take(1))
  await turns(20)
  table.delete(1)
  table.delete(2)
  const anew = await open()
  const read = anew.take(1)
  await turns(200)
  const { pages } = table
  await turns(200)
  expect(table.pages - pages).toBeLessThan(10)
  commit(table, 1)
  wakeups.wake()
  expect((await read).map(({ id }) => id)).toEqual(['3'])
  expect(await failing).toMatchObject({ code: 'CURSOR_TRIMMED', cursor: '2' })
  for (const each of [before, anew]) await each[Symbol.asyncDispose]()
})

test('what one consumer does to an event is not seen by another', async () => {
  const { table, wakeups, open } = subject()
  commit(table, 1)
  const streams = [await open(), await open()]
  await Promise.all(streams.map((each) => each.take(1)))
  const reads = streams.map((each) => each.take(1))
  await turns(20)
  commit(table, 1)
  wakeups.wake()
  const [[one], [other]] = (await Promise.all(reads)) as [[object], [object]]
  expect(one).toEqual(other)
  expect(one).not.toBe(other)
  for (const each of streams) await each[Symbol.asyncDispose]()

  const alone = await open()
  await alone.take(2)
  const read = alone.take(1)
  await turns(20)
  commit(table, 1)
  wakeups.wake()
  for (const event of await read) Object.assign(event, { foreignId: 'changed' })
  const later = await open('2')
  expect((await later.take(1))[0]?.foreignId).toBe('a')
  for (const each of [alone, later]) await each[Symbol.asyncDispose]()
})
