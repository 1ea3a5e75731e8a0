import { expect, test } from 'vitest'
import { bridge } from '../../src/bridge/bridge.ts'
import { memoryCursors, memoryLog, type Observer, ReflexError, type Sink } from '../../src/core/index.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'

test('a bridge tells how long its destination took to confirm what events were part of, and when its streams are closed', async () => {
  const clock = simulatedClock()
  const log = memoryLog({ batchSize: 3 })
  for (let i = 1; i <= 5; i++) log.append({ type: i % 2, foreignId: 'a' })
  const trace: unknown[] = []
  const observer: Observer = {
    opened: ({ cursor }) => trace.push(['opened', cursor]),
    timed: (handling) => trace.push(['timed', handling]),
    progress: ({ handled, skipped }) => trace.push(['progress', handled, skipped]),
    closed: ({ name }) => trace.push(['closed', name]),
    failed: () => trace.push(['failed']),
  }
  let refuses = true
  const sink: Sink = {
    name: 'memory:sink',
    open: async ({ saved }) => ({
      resumeFrom: saved?.cursor ?? '',
      append: async (events) => {
        clock.pass(40 * events.length)
        // The first time, one event of the second batch is too large: the stream is opened again for what stands before it.
        if (refuses && events.some(({ id }) => id === '5')) {
          throw new ReflexError('EVENT_TOO_LARGE', 'too large', { kind: 'oversize', eventId: '5' })
        }
        return 'mark'
      },
      [Symbol.asyncDispose]: async () => {},
    }),
  }
  const checkpoints = memoryCursors()
  const transform = (event: { readonly id: string }) => (event.id === '2' ? undefined : (event as never))
  const spec = { name: 'orders', source: log.source, sink, checkpoints, transform }
  await expect(clock.until(bridge(spec, { toHead: true, clock, observer }))).rejects.toThrow('too large')
  expect(trace).toEqual([
    ['opened', ''],
    ['timed', { count: 2, ms: 80 }],
    ['progress', 2, 1],
    ['closed', 'orders'],
    ['opened', '3@1'],
    ['timed', { count: 1, ms: 40 }],
    ['progress', 1, 0],
    ['closed', 'orders'],
    ['failed'],
  ])
  trace.length = 0
  refuses = false
  await clock.until(bridge(spec, { toHead: true, clock, observer }))
  expect(trace).toEqual([
    ['opened', '4@1'],
    ['timed', { count: 1, ms: 40 }],
    ['progress', 1, 0],
    ['closed', 'orders'],
  ])
})
