import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Clock,
  type Consumer,
  type CursorStore,
  type Event,
  memoryCursors,
  memoryLog,
  type RunResult,
  supervise,
  systemClock,
} from '../../src/core/index.ts'
import {
  type AckContext,
  ack,
  batch,
  concurrent,
  type LeaseContext,
  type LeasedConsumer,
  noRetry,
  retry,
  withLease,
} from '../../src/patterns/index.ts'
import { leaseWorld, type SimulatedProcess } from '../core/lease-world.ts'

type Trouble = {
  readonly at: number
  readonly who: number
  readonly what: 'freeze' | 'cutOff' | 'kill'
  readonly forMs: number
}

test('one process of several runs the consumer, with a token that grows; whatever freezes, is cut off or killed, all events are handled, and a fence on the token lets nothing through twice', async () => {
  const plan = fc.record({
    delays: fc.array(fc.nat({ max: 40 }), { minLength: 1, maxLength: 8 }),
    troubles: fc.array(
      fc.record<Trouble>({
        at: fc.nat({ max: 6000 }),
        who: fc.nat({ max: 2 }),
        what: fc.constantFrom('freeze', 'freeze', 'cutOff', 'kill'),
        forMs: fc.integer({ min: 100, max: 4000 }),
      }),
      { maxLength: 3 },
    ),
  })
  await fc.assert(
    fc.asyncProperty(plan, async ({ delays, troubles }) => {
      let asked = 0
      const world = leaseWorld(() => delays[asked++ % delays.length] as number)
      const log = memoryLog({ batchSize: 2 })
      for (let i = 0; i < 12; i++) log.append({ type: 1, foreignId: 'a' })
      const cursors = memoryCursors()
      const stop = new AbortController()
      const handled = new Set<string>()
      const effects: { readonly token: bigint; readonly id: string }[] = []
      const beside: string[] = []
      let fence = 0n
      const start = (process: SimulatedProcess): void => {
        const clock = { now: () => world.now(), sleep: process.clock.sleep, yield: async () => {} }
        const consumer: LeasedConsumer = {
          name: 'c',
          handle: async ({ id }, { token, signal }) => {
            // Nobody else has it, whatever was frozen.
            if (signal.aborted || world.grants.at(-1)?.token !== token) beside.push(`${id} by ${process.name}`)
            await process.clock.sleep(300)
            if (token < fence) return // what is written to has refused it, which nobody looks at
            fence = token
            effects.push({ token, id })
            handled.add(id)
          },
        }
        const spec = { stream: log.source.stream, cursors, consumer }
        const lease = { leases: process.leases, name: 'c', holder: process.name, ttlMs: 1000 }
        const attempt = (o: object): Promise<RunResult> =>
          withLease(lease, spec, { ...o, clock, monotonic: process.monotonic })
        supervise(attempt, { signal: stop.signal, clock, minDelayMs: 10, maxDelayMs: 100, graceMs: 1e6 }).catch(
          (error: unknown) => {
            throw error
          },
        )
      }
      const processes = ['x', 'y', 'z'].map((name) => world.process(name))
      for (const each of processes) start(each)
      const killed = new Set<number>()
      for (const { at, who, what, forMs } of troubles) {
        if (what === 'kill' && killed.size === 2 && !killed.has(who)) continue // one is left
        if (what === 'kill') killed.add(who)
        world.at(at, () => processes[who]?.[what](forMs))
      }
      await world.run(40_000)
      expect(beside).toEqual([])
      expect(handled.size).toBe(12)
      expect(await cursors.get('c')).toBe('12@1')
      // What the fence let through is in the order of the log for each token, and tokens never go back.
      for (const [i, { token, id }] of effects.entries()) {
        const before = effects[i - 1]
        if (before === undefined) continue
        expect(token).toBeGreaterThanOrEqual(before.token)
        if (token === before.token) expect(Number(id)).toBe(Number(before.id) + 1)
      }
      for (const { token } of effects) expect(world.grants.map((grant) => grant.token)).toContain(token)
      stop.abort()
      await world.run(60_000)
    }),
    { numRuns: 60 },
  )
}, 30_000)

test('a lost lease aborts the handler at once, nothing more is handled or saved, and it is LEASE_LOST', async () => {
  const world = leaseWorld(() => 1)
  const [holder, other] = [world.process('x'), world.process('y')]
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' }, { type: 1, foreignId: 'b' })
  let abortedAt = 0
  const saves: string[] = []
  const cursors: CursorStore = { ...memoryCursors(), set: async (_consumer, cursor) => void saves.push(cursor) }
  const handled: string[] = []
  const consumer: LeasedConsumer = {
    name: 'c',
    handle: ({ id }, { signal }) =>
      new Promise((resolve) => {
        handled.push(id)
        signal.addEventListener('abort', () => {
          abortedAt = world.now()
          resolve() // as if it were done
        })
      }),
  }
  const clock = { now: () => world.now(), sleep: holder.clock.sleep, yield: async () => {} }
  const lease = { leases: holder.leases, name: 'c', holder: 'x', ttlMs: 1000 }
  const ended = withLease(
    lease,
    { stream: log.source.stream, cursors, consumer },
    { clock, monotonic: holder.monotonic },
  ).catch((error: unknown) => error)
  world.at(500, () => holder.cutOff(60_000))
  await world.run(5000)
  expect(await ended).toMatchObject({ code: 'LEASE_LOST', retriable: true })
  expect(abortedAt).toBeLessThanOrEqual(500 + 1000)
  expect([handled, saves]).toEqual([['1'], []])
  const free = other.leases.get('c')
  await world.run(10_000)
  expect(await free).toBeUndefined()
})

test('after a lost lease nothing is begun of what was gathered, or stands in line', async () => {
  const ends = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  const consumers = (begun: string[], sleep: Clock['sleep']): Consumer[] => [
    batch(
      { name: 'c', handle: (events) => void begun.push(...events.map(({ id }) => id)) },
      { maxEvents: 10, clock: { ...systemClock, sleep } },
    ),
    concurrent(
      {
        name: 'c',
        handle: ({ id }, { signal }) => {
          begun.push(id)
          return ends(signal)
        },
      },
      { maxInFlight: 2 },
    ),
  ]
  for (const [which, expected] of [[], ['1', '3']].entries()) {
    for (const trouble of ['cutOff', 'freeze'] as const) {
      const world = leaseWorld(() => 1)
      const process = world.process('x')
      const log = memoryLog()
      for (const foreignId of ['a', 'a', 'b']) log.append({ type: 1, foreignId })
      const begun: string[] = []
      const cursors = memoryCursors()
      const clock = { now: () => world.now(), sleep: process.clock.sleep, yield: async () => {} }
      const consumer = consumers(begun, clock.sleep)[which] as Consumer
      const ended = withLease(
        { leases: process.leases, name: 'c', holder: 'x', ttlMs: 1000 },
        { stream: log.source.stream, cursors, consumer },
        { clock, monotonic: process.monotonic },
      ).catch((error: unknown) => error)
      world.at(500, () => process[trouble](60_000))
      await world.run(100_000)
      expect(await ended).toMatchObject({ code: 'LEASE_LOST' })
      expect([begun, await cursors.get('c')]).toEqual([expected, ''])
    }
  }
})

test('a process that was frozen at the head does not handle what it has gathered, which another one has by then', async () => {
  const world = leaseWorld(() => 1)
  const process = world.process('x')
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' })
  const clock = { now: () => world.now(), sleep: process.clock.sleep, yield: async () => {} }
  const begun: string[] = []
  const inner = batch(
    { name: 'c', handle: (events) => void begun.push(...events.map(({ id }) => id)) },
    { maxEvents: 9 },
  )
  const consumer: Consumer = {
    ...inner,
    handle: async (event, context) => {
      await inner.handle(event, context)
      await process.clock.sleep(100) // frozen in the meantime
    },
  }
  world.at(50, () => process.freeze(60_000))
  const ended = withLease(
    { leases: process.leases, name: 'c', holder: 'x', ttlMs: 1000 },
    { stream: log.source.stream, cursors: memoryCursors(), consumer },
    { clock, monotonic: process.monotonic, toHead: true },
  ).catch((error: unknown) => error)
  await world.run(100_000)
  expect(await ended).toMatchObject({ code: 'LEASE_LOST' })
  expect(begun).toEqual([])
})

/** The patterns with work in the background, over a handler that is given the token. */
const background: Record<string, (begin: Begin, sleep: Clock['sleep']) => LeasedConsumer> = {
  'batch by count': (begin) =>
    batch({ name: 'c', handle: (events, context: LeaseContext) => begin(events, context) }, { maxEvents: 3 }),
  'batch by age': (begin, sleep) =>
    batch(
      retry(
        { name: 'c', handle: (events: readonly Event[], context: LeaseContext) => begin(events, context) },
        noRetry,
      ),
      { maxAgeMs: 250, clock: { ...systemClock, sleep } },
    ),
  concurrent: (begin) =>
    concurrent({ name: 'c', handle: (event, context: LeaseContext) => begin([event], context) }, { maxInFlight: 2 }),
  ack: (begin) =>
    ack(
      {
        name: 'c',
        handle: (event, { ack: done, ...context }: AckContext & LeaseContext) =>
          void begin([event], context).then(done, () => {}),
      },
      { maxUnacked: 2 },
    ),
}
type Begin = (events: readonly Event[], context: LeaseContext) => Promise<void>

test.each(Object.entries(background))(
  '%s gives its handler the token, and begins nothing once another process may have the lease, nor while it ends after an abort',
  async (_, make) => {
    const plan = fc.record({
      keys: fc.array(fc.constantFrom('a', 'a', 'b'), { minLength: 1, maxLength: 10 }),
      takes: fc.array(fc.integer({ min: 0, max: 700 }), { minLength: 1, maxLength: 6 }),
      abortAt: fc.option(fc.nat({ max: 2500 }), { nil: undefined }),
      trouble: fc.record({
        what: fc.constantFrom('freeze', 'cutOff'),
        at: fc.nat({ max: 2500 }),
        forMs: fc.nat({ max: 5000 }),
      }),
    })
    await fc.assert(
      fc.asyncProperty(plan, async ({ keys, takes, abortAt, trouble }) => {
        const world = leaseWorld(() => 5)
        const log = memoryLog({ batchSize: 4 })
        for (const foreignId of keys) log.append({ type: 1, foreignId })
        const cursors = memoryCursors()
        const wrong: string[] = []
        const done = new Set<string>()
        let begun = 0
        const stop = new AbortController()
        const start = (name: string, signal: AbortSignal | undefined): Promise<unknown> => {
          const process = world.process(name)
          if (name === 'x') world.at(trouble.at, () => process[trouble.what as 'freeze' | 'cutOff'](trouble.forMs))
          const clock = { now: () => world.now(), sleep: process.clock.sleep, yield: async () => {} }
          const consumer = make(async (events, { token }) => {
            const ids = events.map(({ id }) => id).join()
            const holder = world.grants.at(-1)
            if (holder?.token !== token) wrong.push(`${ids} by ${name} with ${token}, but it is ${holder?.token}`)
            await process.clock.sleep(takes[begun++ % takes.length] as number)
            for (const { id } of events) done.add(id)
          }, clock.sleep)
          const lease = { leases: process.leases, name: 'c', holder: name, ttlMs: 1000 }
          const spec = { stream: log.source.stream, cursors, consumer }
          return supervise(
            (o) => withLease(lease, spec, { ...o, clock, monotonic: process.monotonic, toHead: name === 'y' }),
            {
              signal,
              clock,
              graceMs: 1e6,
              minDelayMs: 10,
              maxDelayMs: 100,
            },
          )
        }
        const outcome = start('x', stop.signal)
        const end = new AbortController()
        world.at(50, () => void start('y', end.signal).catch((error: unknown) => wrong.push(String(error))))
        if (abortAt !== undefined) world.at(abortAt, () => stop.abort(new Error('stop')))
        await world.run(20_000)
        expect(wrong).toEqual([])
        if (abortAt !== undefined) {
          expect(await outcome).toMatchObject({ reason: 'aborted' })
          expect([done.size, await cursors.get('c')]).toEqual([keys.length, `${keys.length}@1`]) // y has gone on
        }
        stop.abort()
        end.abort()
        await world.run(40_000)
      }),
      { numRuns: 100 },
    )
  },
)

test.each(['cutOff', 'freeze'] as const)(
  'a lease that is lost (%s) while a run ends after an abort is told to what is at work, and is the error of the result',
  async (trouble) => {
    for (const [which, keys, expected] of [
      ['batch by count', 'ab', ['1', '2']], // gathered, and begun with the abort
      ['concurrent', 'aaaaab', ['1', '6', '2', ...(trouble === 'cutOff' ? ['3'] : [])]], // what stands before 6, while the lease is held
    ] as const) {
      const world = leaseWorld(() => 1)
      const process = world.process('x')
      const log = memoryLog()
      for (const foreignId of keys) log.append({ type: 1, foreignId })
      const clock = { now: () => world.now(), sleep: process.clock.sleep, yield: async () => {} }
      const begun: string[] = []
      const told: number[] = []
      const consumer = background[which]?.(async (events, { signal }) => {
        begun.push(...events.map(({ id }) => id))
        signal.addEventListener('abort', () => told.push(world.now()))
        if (signal.aborted) throw new Error('it is begun with a signal that is live')
        await process.clock.sleep(which === 'concurrent' ? 700 : 2000)
      }, clock.sleep) as LeasedConsumer
      const stop = new AbortController()
      world.at(500, () => stop.abort(new Error('stop')))
      world.at(800, () => process[trouble](30_000))
      const lease = { leases: process.leases, name: 'c', holder: 'x', ttlMs: 1000 }
      const spec = { stream: log.source.stream, cursors: memoryCursors(), consumer }
      const ended = withLease(lease, spec, { clock, monotonic: process.monotonic, signal: stop.signal })
      await world.run(100_000)
      expect(await ended).toMatchObject({ reason: 'aborted', error: { code: 'LEASE_LOST' } })
      expect(begun).toEqual(expected)
      if (trouble === 'cutOff') expect(told.at(-1)).toBeLessThanOrEqual(800 + 1000)
    }
  },
)

test('an abort while it waits, or while it runs, is reason aborted, and frees the lease', async () => {
  const world = leaseWorld(() => 1)
  const [x, y] = [world.process('x'), world.process('y')]
  const log = memoryLog()
  const outcomes: unknown[] = []
  const stops = [new AbortController(), new AbortController()]
  for (const [i, process] of [x, y].entries()) {
    const clock = { now: () => world.now(), sleep: process.clock.sleep, yield: async () => {} }
    const spec = { stream: log.source.stream, cursors: memoryCursors(), consumer: { name: 'c', handle: () => {} } }
    const options = { clock, monotonic: process.monotonic, signal: stops[i]?.signal }
    withLease({ leases: process.leases, name: 'c', holder: process.name, ttlMs: 1000 }, spec, options).then(
      (result) => outcomes.push([process.name, result]),
      (error: unknown) => outcomes.push([process.name, error]),
    )
  }
  await world.run(300)
  stops[1]?.abort()
  await world.run(400)
  expect(outcomes).toEqual([['y', { reason: 'aborted', cursor: '' }]])
  stops[0]?.abort()
  await world.run(500)
  expect(outcomes[1]).toEqual(['x', { reason: 'aborted', cursor: '' }])
  const z = world.process('z')
  const free = z.leases.get('c')
  await world.run(600)
  expect(await free).toBeUndefined()
})

test('a process that was frozen in the middle of a batch handles no further event when it wakes up and another has the lease', async () => {
  const world = leaseWorld(() => 1)
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' }, { type: 1, foreignId: 'b' })
  const cursors = memoryCursors()
  const begun: string[] = []
  const outcomes = ['x', 'y'].map((name) => {
    const process = world.process(name)
    if (name === 'x') world.at(50, () => process.freeze(700))
    const handle = async ({ id }: Event): Promise<void> => {
      begun.push(`${id} by ${name}`)
      await process.clock.sleep(200) // over before the lease, so that it wakes up first
    }
    const clock = { now: () => world.now(), sleep: process.clock.sleep, yield: async () => {} }
    const lease = { leases: process.leases, name: 'c', holder: name, ttlMs: 300 }
    const spec = { stream: log.source.stream, cursors, consumer: { name: 'c', handle } }
    return withLease(lease, spec, { clock, monotonic: process.monotonic, toHead: true }).catch(
      (error: unknown) => error,
    )
  })
  await world.run(10_000)
  expect(begun).toEqual(['1 by x', '1 by y', '2 by y'])
  expect(await Promise.all(outcomes)).toMatchObject([{ code: 'LEASE_LOST' }, { reason: 'head', cursor: '2@1' }])
})
