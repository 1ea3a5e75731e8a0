import { expect, test } from 'vitest'
import { combineObservers, type Observer, run, statusObserver, supervise } from '../../src/core/index.ts'
import { errorOf } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'
import { traced } from './traced.ts'

test('a status says where a run stands', async () => {
  const t = traced(5, { batchSize: 2 })
  const observer = statusObserver(t.log.source)
  expect(await observer.status()).toEqual({
    position: undefined,
    saved: undefined,
    backlog: undefined,
    blocked: undefined,
    oldestUnreadAt: undefined,
    handled: 0,
    skipped: 0,
    lastEventAt: undefined,
    lastError: undefined,
    restarts: 0,
    repair: undefined,
  })
  const broken = new Error('broken')
  let fails = true
  const consumer = t.consumer({
    filter: ({ id }) => id !== '2',
    handle: ({ id }) => {
      if (id === '4' && fails) throw broken
    },
  })
  const error = await errorOf(run({ ...t, consumer }, { toHead: true, observer }))
  expect(await observer.status()).toMatchObject({
    position: '3',
    saved: '3@1',
    backlog: { count: 2n, unit: 'events' },
    oldestUnreadAt: 0,
    handled: 2,
    skipped: 1,
    lastEventAt: 0,
    lastError: error,
  })
  fails = false
  await run({ ...t, consumer }, { toHead: true, observer })
  expect(await observer.status()).toMatchObject({
    position: '5',
    saved: '5@1',
    backlog: { count: 0n },
    oldestUnreadAt: undefined,
    handled: 4,
    skipped: 1,
    lastError: undefined,
  })
})

test('it says what keeps the source from going on', async () => {
  const { stream } = traced(1).log.source
  const blocked = { holder: 'a transaction', blockedMs: 1500 }
  const source = { stream, blocked: () => (isBlocked ? blocked : undefined) }
  let isBlocked = true
  const observer = statusObserver(source)
  expect((await observer.status()).blocked).toEqual(blocked)
  isBlocked = false
  expect((await observer.status()).blocked).toBeUndefined()
})

test('it counts the restarts of a supervised run', async () => {
  const t = traced(2)
  const clock = simulatedClock()
  const observer = statusObserver()
  let failures = 0
  const consumer = t.consumer({
    handle: () => {
      if (failures++ < 3) throw new Error('broken')
    },
  })
  await clock.until(supervise((o) => run({ ...t, consumer }, { ...o, toHead: true }), { clock, observer }))
  const status = await observer.status()
  expect(status).toMatchObject({ restarts: 3, handled: 2, lastError: undefined, backlog: undefined })
})

test('it has the error of an attempt that failed before its run', async () => {
  const clock = simulatedClock()
  const observer = statusObserver()
  const controller = new AbortController()
  const broken = new Error('cannot connect')
  const running = supervise(() => Promise.reject(broken), { clock, observer, signal: controller.signal })
  await clock.advance(0)
  expect((await observer.status()).lastError).toBe(broken)
  controller.abort()
  await running
})

test('observers are combined: each is told, as its own, what it asks for', () => {
  const told: unknown[] = []
  const first: Observer = { saved: (cursor) => told.push(['first', cursor]) }
  const second = {
    own: 'second',
    saved(cursor: string) {
      told.push([this.own, cursor])
    },
    repaired(text: string) {
      told.push([this.own, text])
    },
  }
  const all = combineObservers(first, undefined, second)
  all.saved('5')
  all.repaired('tail')
  all.failed(new Error('nobody listens'))
  expect(told).toEqual([
    ['first', '5'],
    ['second', '5'],
    ['second', 'tail'],
  ])
})
