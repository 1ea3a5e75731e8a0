import { getEventListeners } from 'node:events'
import { expect, test, vi } from 'vitest'
import { systemClock } from '../../src/core/index.ts'
import { errorOf } from '../tools/reader.ts'

test('sleep waits as long as it was told, and no listener is left', async () => {
  const { signal } = new AbortController()
  const from = performance.now()
  await systemClock.sleep(20, signal)
  expect(performance.now() - from).toBeGreaterThanOrEqual(19)
  await systemClock.sleep(0)
  expect(getEventListeners(signal, 'abort')).toEqual([])
})

test('an abort ends a sleep at once, with its reason', async () => {
  const reason = new Error('enough')
  const controller = new AbortController()
  const sleeping = errorOf(systemClock.sleep(3_600_000, controller.signal))
  controller.abort(reason)
  expect(await sleeping).toBe(reason)
  expect(await errorOf(systemClock.sleep(1, controller.signal))).toBe(reason)
})

test('a sleep of many weeks does not end at once', async () => {
  vi.useFakeTimers()
  try {
    let over = false
    const days = 24 * 3_600_000
    void systemClock.sleep(60 * days).then(() => {
      over = true
    })
    await vi.advanceTimersByTimeAsync(59 * days)
    expect(over).toBe(false)
    await vi.advanceTimersByTimeAsync(days)
    expect(over).toBe(true)
  } finally {
    vi.useRealTimers()
  }
})

test('yield lets timers and I/O run', async () => {
  let ran = false
  setImmediate(() => {
    ran = true
  })
  await systemClock.yield()
  expect(ran).toBe(true)
})
