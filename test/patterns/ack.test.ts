import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Consumer, eventIdOf, memoryCursors, memoryLog, run } from '../../src/core/index.ts'
import { type AckConsumer, type AckContext, type AckOptions, ack } from '../../src/patterns/index.ts'
import { errorOf, within } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'
import { arbitraryLives, live } from './lives.ts'
import { turns } from './turns.ts'

/** A log of so many events, and a consumer that says nothing by itself. */
function scene(count: number, options?: AckOptions, members: Partial<AckConsumer> = {}) {
  const log = memoryLog()
  for (let i = 0; i < count; i++) log.append({ type: 1, foreignId: 'x' })
  const cursors = memoryCursors()
  const given = new Map<string, AckContext>()
  const consumer = ack({ name: 'c', handle: ({ id }, context) => void given.set(id, context), ...members }, options)
  return {
    log,
    given,
    of: (id: number): AckContext => given.get(String(id)) as AckContext,
    spec: { stream: log.source.stream, cursors, consumer },
    stored: () => cursors.get('c'),
  }
}

describe('rules 1, 2, 3, 6 and 8', () => {
  test('hold after any schedule of crashes, errors, lost replies and aborts, for work that ends in any order', async () => {
    await fc.assert(
      fc.asyncProperty(arbitraryLives, fc.integer({ min: 1, max: 6 }), (lives, maxUnacked) =>
        live(
          { ...lives, log: lives.log.map((each, i) => each && { ...each, key: `e${i}` }) }, // no order is promised
          ({ work }) =>
            ack(
              { name: 'c', handle: (event, context) => void work([event]).then(context.ack, context.fail) },
              { maxUnacked },
            ),
          { order: 'key', atOnce: maxUnacked },
        ),
      ),
      { numRuns: 200 },
    )
  })
})

test('the cursor moves over what is acknowledged without a gap, in any order, and twice is as good as once', async () => {
  const s = scene(4)
  const controller = new AbortController()
  const running = run(s.spec, { signal: controller.signal })
  await turns()
  s.of(3).ack()
  s.of(2).ack()
  s.of(2).ack()
  s.log.skip()
  await turns()
  expect(await s.stored()).toBe('')
  s.of(1).ack()
  s.log.skip()
  await turns()
  expect(await s.stored()).toBe('3@1')
  s.of(4).ack()
  controller.abort()
  expect(await running).toEqual({ reason: 'aborted', cursor: '6@1' })
})

test('no more events are given than there may be without a word, from the first of them on', async () => {
  const s = scene(6, { maxUnacked: 3 })
  const running = run(s.spec, { toHead: true })
  await turns()
  expect([...s.given.keys()]).toEqual(['1', '2', '3'])
  s.of(3).ack()
  s.of(2).ack()
  await turns()
  expect(s.given.size).toBe(3)
  s.of(1).ack()
  await turns()
  expect(s.given.size).toBe(6)
  for (const id of [4, 5, 6]) s.of(id).ack()
  await running
})

test('fail ends the run with that error, on an idle stream too, and the next run begins with the event', async () => {
  const s = scene(3)
  const running = errorOf(run(s.spec))
  await turns()
  s.of(1).ack()
  s.of(3).ack()
  s.of(2).fail(new Error('broken'))
  s.of(2).ack() // the first word counts
  s.of(2).fail(new Error('again'))
  const error = await within(running, 5000, 'the end')
  expect(String(error)).toContain('event 2: broken')
  expect(eventIdOf(error)).toBe('2')
  expect(await s.stored()).toBe('1@1')
  s.given.clear()
  const again = run(s.spec, { toHead: true })
  await turns()
  expect([...s.given.keys()]).toEqual(['2', '3'])
  s.of(2).ack()
  s.of(3).ack()
  await again
})

test('an ack after the run has ended says so, and is not counted in the next one', async () => {
  const clock = simulatedClock()
  const s = scene(2)
  const controller = new AbortController()
  const running = run(s.spec, { signal: controller.signal, clock })
  await turns()
  const early = s.of(1)
  const late = s.of(2)
  early.ack()
  controller.abort()
  expect(late.signal.aborted).toBe(true)
  const result = await clock.until(running)
  expect(result).toMatchObject({ reason: 'aborted', cursor: '1@1', error: { code: 'STOP_TIMEOUT' } })
  early.ack()
  s.given.clear()
  const again = run(s.spec, { toHead: true })
  await turns()
  expect(() => late.ack()).toThrow(expect.objectContaining({ code: 'ACK_TOO_LATE', eventId: '2' }))
  expect(String(await errorOf((async () => late.ack())()))).toContain('"c" had ended: it is handled again')
  late.fail(new Error('nobody is left to be told'))
  s.log.skip()
  await turns()
  expect(await s.stored()).toBe('1@1')
  s.of(2).ack()
  await again
})

test('after an abort there is time for a last word; an event that is given up holds nothing up', async () => {
  const s = scene(3)
  const controller = new AbortController()
  const running = run(s.spec, { signal: controller.signal })
  await turns()
  controller.abort(new Error('stop'))
  await turns()
  s.of(3).fail(s.of(3).signal.reason)
  s.of(1).ack()
  await turns()
  s.of(2).ack()
  expect(await within(running, 5000, 'the end')).toEqual({ reason: 'aborted', cursor: '2@1' })
})

test('what the handler itself throws ends the run', async () => {
  for (const handle of [
    () => {
      throw new Error('broken')
    },
    async () => {
      throw new Error('broken')
    },
  ]) {
    const s = scene(3, {}, { handle })
    expect(String(await errorOf(run(s.spec, { toHead: true })))).toContain('event 1: broken')
    expect(await s.stored()).toBe('')
  }
})

test('what the handler throws ends the run also where a decorator would go past the event', async () => {
  const s = scene(
    4,
    {},
    {
      handle: ({ id }, { ack }) => {
        if (id === '2') throw new Error('broken')
        ack()
      },
    },
  )
  const { handle } = s.spec.consumer
  const swallows: Consumer['handle'] = async (event, context) => {
    try {
      await handle(event, context)
    } catch {}
  }
  const consumer = { ...s.spec.consumer, handle: swallows }
  expect(await errorOf(run({ ...s.spec, consumer }, { toHead: true }))).toMatchObject({ eventId: '2' })
  expect(await s.stored()).toBe('1@1')
})

test('an error that the handler throws tells those at work, which have time for a last word', async () => {
  const s = scene(
    2,
    {},
    {
      handle: ({ id }, { signal, ack }) => {
        if (id === '2') throw new Error('broken')
        signal.addEventListener('abort', () => ack())
      },
    },
  )
  expect(await within(errorOf(run(s.spec)), 5000, 'the end')).toMatchObject({ eventId: '2' })
  expect(await s.stored()).toBe('1@1')
})

test('the limit is a whole number from 1 on', () => {
  expect(() => ack({ name: 'c', handle: () => {} }, { maxUnacked: 0 })).toThrow('maxUnacked must be')
})

test('what would not be called is refused', () => {
  for (const member of ['settled', 'recover'])
    expect(() => ack({ name: 'c', handle: () => {}, [member]: () => {} })).toThrow(`(${member})`)
})
