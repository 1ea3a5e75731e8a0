import { getEventListeners } from 'node:events'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type MemoryLog, memoryLog, type Source } from '../../src/core/index.ts'
import { awaitEvent, expectEvent } from '../../src/patterns/index.ts'
import { simulation } from '../../src/testing/simulation/simulation.ts'
import { errorOf } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'
import { turns } from './turns.ts'

/** A log that counts its open streams. */
function counted(log: MemoryLog): { source: Source; open(): number } {
  let open = 0
  const { source } = log
  return {
    open: () => open,
    source: {
      ...source,
      stream: async (...about) => {
        const stream = await source.stream(...about)
        open++
        let closed = false
        return {
          [Symbol.asyncIterator]: () => stream[Symbol.asyncIterator](),
          [Symbol.asyncDispose]: async () => {
            if (!closed) open--
            closed = true
            await stream[Symbol.asyncDispose]()
          },
        }
      },
    },
  }
}

test('finds the first event since the pin that matches, however the action and the others interleave, and closes its stream', async () => {
  const others = fc.array(fc.record({ type: fc.nat({ max: 2 }), foreignId: fc.constantFrom('a', 'b') }), {
    maxLength: 4,
  })
  const plan = fc.record({
    decisions: fc.array(fc.nat({ max: 3 }), { maxLength: 40 }),
    before: others,
    first: others,
    after: others,
  })
  await fc.assert(
    fc.asyncProperty(plan, async ({ decisions, before, first, after }) => {
      const world = simulation(decisions)
      const log = memoryLog({ batchSize: 2 })
      log.append(...before)
      const { source, open } = counted(log)
      const act = async (): Promise<void> => {
        for (const each of [...first, { type: 2, foreignId: 'a' }, ...after]) {
          await world.turn()
          log.append(each)
        }
      }
      const wait = async (): Promise<string> => {
        await using expected = await expectEvent(
          source,
          { foreignId: 'a', types: [1, 2], where: ({ type }) => type !== 1 },
          { timeoutMs: 1e6, clock: simulatedClock() },
        )
        const acting = act()
        await world.turn() // and so it may have come by now
        const event = await expected.event()
        await acting
        expect(await expected.event()).toBe(event)
        return event.id
      }
      const id = await world.run(wait())
      const isMatch = ({ type, foreignId }: { type: number; foreignId: string }): boolean =>
        type === 2 && foreignId === 'a'
      const index = [...first, { type: 2, foreignId: 'a' }].findIndex(isMatch)
      expect([id, open()]).toEqual([String(before.length + index + 1), 0])
    }),
    { numRuns: 200 },
  )
})

test('an event that comes right after the pin, before anybody waits, is not missed', async () => {
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' })
  await using expected = await expectEvent(log.source, { foreignId: 'a' }, { timeoutMs: 1000 })
  log.append({ type: 1, foreignId: 'a' })
  expect(await expected.event()).toMatchObject({ id: '2' })
})

test('looks from a cursor on where one is given', async () => {
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' }, { type: 2, foreignId: 'a' }, { type: 1, foreignId: 'a' })
  for (const [after, id] of [
    ['1', '3'],
    ['', '1'],
  ] as const)
    expect(await awaitEvent(log.source, { types: [1] }, { after, timeoutMs: 1000 })).toMatchObject({ id })
})

test('tells with AWAIT_TIMEOUT that nothing has come, from when it is waited for, and leaves nothing behind', async () => {
  const clock = simulatedClock()
  const { source, open } = counted(memoryLog({ name: 'orders' }))
  const stop = new AbortController()
  const expected = await expectEvent(
    source,
    { foreignId: 'order-7', types: [2] },
    { timeoutMs: 500, clock, signal: stop.signal },
  )
  clock.pass(10_000) // the action may take its time
  const before = clock.now()
  const error = await clock.until(errorOf(expected.event()))
  expect(error).toMatchObject({
    code: 'AWAIT_TIMEOUT',
    message: expect.stringContaining('orders: no event of "order-7" of type 2'),
  })
  expect([clock.now() - before, open(), getEventListeners(stop.signal, 'abort').length]).toEqual([500, 0, 0])
})

test('ends at once with the signal’s reason, and as the stream does where it fails', async () => {
  const stop = new AbortController()
  const { source, open } = counted(memoryLog())
  const waiting = errorOf(awaitEvent(source, {}, { timeoutMs: 1e6, signal: stop.signal }))
  setTimeout(() => stop.abort('enough'), 5)
  expect([await waiting, open()]).toEqual(['enough', 0])
  const log = memoryLog()
  const expected = await expectEvent(log.source, {}, { timeoutMs: 1e6 })
  log.recreate()
  expect(await errorOf(expected.event())).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'recreated' })
})

test('what is disposed of while it is awaited, or before, says so, and not that the server has gone', async () => {
  const clock = simulatedClock()
  const { source, open } = counted(memoryLog({ name: 'orders' }))
  const stop = new AbortController()
  const options = { timeoutMs: 500, clock, signal: stop.signal }
  const expected = await expectEvent(source, { foreignId: 'order-7' }, options)
  const waiting = errorOf(expected.event())
  await turns()
  await expected[Symbol.asyncDispose]()
  expect(await waiting).toMatchObject({
    code: 'AWAIT_DISPOSED',
    retriable: false,
    message: expect.stringContaining('orders: the event of "order-7" that was expected was disposed of'),
  })
  expect(await errorOf(expected.event())).toBe(await waiting)
  await expected[Symbol.asyncDispose]()
  const never = await expectEvent(source, {}, options)
  await never[Symbol.asyncDispose]()
  expect(await errorOf(never.event())).toMatchObject({ code: 'AWAIT_DISPOSED' })
  expect([open(), getEventListeners(stop.signal, 'abort').length]).toEqual([0, 0])
  await clock.advance(1000) // nobody sleeps any more
})

test('an event that has come is there after it was disposed of', async () => {
  const log = memoryLog()
  const expected = await expectEvent(log.source, {}, { timeoutMs: 1000 })
  log.append({ type: 1, foreignId: 'a' })
  const event = await expected.event()
  await expected[Symbol.asyncDispose]()
  expect(await expected.event()).toBe(event)
})

test('a block that is left early leaves no unhandled rejection of what it no longer waits for', async () => {
  const unhandled: unknown[] = []
  const onUnhandled = (error: unknown): void => void unhandled.push(error)
  const others = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection')
  process.on('unhandledRejection', onUnhandled)
  try {
    const leave = async (): Promise<void> => {
      await using expected = await expectEvent(memoryLog().source, {}, { timeoutMs: 1e6 })
      void expected.event()
      throw new Error('the action failed')
    }
    expect(String(await errorOf(leave()))).toContain('the action failed')
    await turns()
    expect(unhandled).toEqual([])
  } finally {
    process.off('unhandledRejection', onUnhandled)
    for (const each of others) process.on('unhandledRejection', each)
  }
})

test('refuses a time that is none', async () => {
  for (const timeoutMs of [-1, Number.NaN])
    expect(await errorOf(expectEvent(memoryLog().source, {}, { timeoutMs }))).toMatchObject({ code: 'OPTION_INVALID' })
})

test('what is expected and never waited for is closed', async () => {
  const { source, open } = counted(memoryLog())
  {
    await using _expected = await expectEvent(source, {}, { timeoutMs: 1 })
    expect(open()).toBe(1)
  }
  expect(open()).toBe(0)
})
