import fc from 'fast-check'
import { expect, it } from 'vitest'
import { type HeldLease, holdLease } from '../../src/core/hold-lease.ts'
import { leaseShare } from '../../src/core/lease-share.ts'
import { type LeaseWorld, leaseWorld, type SimulatedProcess } from './lease-world.ts'

const TTL_MS = 10_000
const POLL_MS = 1000

interface Life {
  readonly world: LeaseWorld
  readonly process: SimulatedProcess
  /** What it writes to. */
  write(token: bigint): void
  /** Each piece of work takes so long; it ends after so many. */
  readonly everyMs: number
  readonly writes: number
}

/** A process that asks for the lease for ever, and writes while it has it, looking at its lease before each write. */
async function live({ world, process, write, everyMs, writes }: Life): Promise<never> {
  const { clock, leases, monotonic, name } = process
  const work = async ({ check, signal, token }: HeldLease): Promise<void> => {
    for (let i = 0; i < writes && !signal.aborted; i++) {
      check()
      write(token)
      await clock.sleep(everyMs) // what is under way does not heed the signal
    }
  }
  for (;;) {
    await holdLease({ leases, name: 'orders', holder: name, ttlMs: TTL_MS }, work, { clock, monotonic }).catch(
      () => {}, // lost, or the store could not be asked
    )
    await clock.sleep(100 + (world.now() % 7))
  }
}

const fault = fc.record({
  at: fc.integer({ min: 0, max: 60_000 }),
  who: fc.nat({ max: 2 }),
  kind: fc.constantFrom('freeze', 'cut off', 'kill', 'start'),
  forMs: fc.oneof(fc.integer({ min: 1, max: 12_000 }), fc.constantFrom(TTL_MS, TTL_MS * 0.8, TTL_MS / 3)),
})
const schedules = fc.record({
  delays: fc.array(fc.oneof(fc.nat({ max: 50 }), fc.nat({ max: 5000 })), { minLength: 1, maxLength: 40 }),
  faults: fc.array(fault, { maxLength: 12 }),
  everyMs: fc.integer({ min: 1, max: 3000 }),
  writes: fc.integer({ min: 1, max: 200 }),
})

it('nobody writes after another was granted the lease, whatever is frozen, cut off, late or killed, and tokens only grow', async () => {
  let written = 0
  let handedOver = 0
  await fc.assert(
    fc.asyncProperty(schedules, async ({ delays, faults, everyMs, writes }) => {
      let sent = 0
      const world = leaseWorld(() => delays[sent++ % delays.length] as number)
      const stale: string[] = []
      const start = (name: string): SimulatedProcess => {
        const process = world.process(name)
        const write = (token: bigint): void => {
          written++
          // A request of its own that comes late may have made a newer token: it has the lease all the same.
          const last = world.grants.at(-1)
          if (last?.holder !== name)
            stale.push(`${name} at ${world.now()} with ${token}, after ${last?.holder} with ${last?.token}`)
        }
        void live({ world, process, write, everyMs, writes })
        return process
      }
      const processes = [start('a'), start('b'), start('c')]
      for (const [i, { at, who, kind, forMs }] of faults.entries()) {
        world.at(at, () => {
          const process = processes[who] as SimulatedProcess
          if (kind === 'freeze') process.freeze(forMs)
          else if (kind === 'cut off') process.cutOff(forMs)
          else process.kill()
          if (kind === 'start') processes[who] = start(`${process.name}${i}`)
        })
      }
      await world.run(90_000)
      expect(stale).toEqual([])
      const tokens = world.grants.map(({ token }) => token)
      expect(tokens).toEqual(tokens.map((_, i) => BigInt(i + 1)))
      handedOver += world.grants.filter(({ holder }, i) => i > 0 && holder !== world.grants[i - 1]?.holder).length
    }),
    { numRuns: 2000 },
  )
  expect(written).toBeGreaterThan(20_000)
  expect(handedOver).toBeGreaterThan(2000)
}, 120_000)

it('another takes over within the time to live and a poll, whatever became of who had it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        at: fc.integer({ min: 1000, max: 40_000 }),
        kind: fc.constantFrom('freeze', 'cut off', 'kill'),
        delay: fc.nat({ max: 40 }),
      }),
      async ({ at, kind, delay }) => {
        const world = leaseWorld(() => delay)
        const write = (): void => {}
        const processes = ['a', 'b', 'c'].map((name) => world.process(name))
        for (const process of processes) void live({ world, process, write, everyMs: 500, writes: 1_000_000 })
        await world.run(at)
        const before = world.grants.at(-1)
        const process = processes.find(({ name }) => name === before?.holder) as SimulatedProcess
        if (kind === 'freeze') process.freeze(1_000_000)
        else if (kind === 'cut off') process.cutOff(1_000_000)
        else process.kill()
        await world.run(at + 60_000)
        const after = world.grants.find(({ token }) => token === (before?.token ?? 0n) + 1n)
        expect(after?.holder).not.toBe(before?.holder)
        expect(after?.at).toBeLessThanOrEqual(at + TTL_MS + POLL_MS + 10 * delay)
      },
    ),
    { numRuns: 300 },
  )
}, 60_000)

it('processes that start together get about as many leases each, and who has the fewest takes over', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat({ max: 20 }), fc.nat({ max: 100 }), async (delay, apart) => {
      const worlds = Array.from({ length: 12 }, () => leaseWorld(() => delay))
      const held = new Map<string, number>()
      const start = (name: string): (() => void) => {
        const share = leaseShare()
        const ended = new AbortController()
        for (const world of worlds) {
          const { clock, leases, monotonic } = world.process(name)
          const work = async ({ signal }: HeldLease): Promise<void> => {
            held.set(name, (held.get(name) ?? 0) + 1)
            await clock.sleep(1_000_000, signal).catch(() => {})
            held.set(name, (held.get(name) ?? 0) - 1)
          }
          const options = { clock, monotonic, share, signal: ended.signal }
          holdLease({ leases, name: 'route', holder: name, ttlMs: TTL_MS }, work, options).catch(() => {})
        }
        return () => ended.abort()
      }
      const runAll = async (fromMs: number, toMs: number): Promise<void> => {
        for (let ms = fromMs; ms <= toMs; ms += 5) for (const world of worlds) await world.run(ms)
      }
      const endA = start('a')
      await runAll(0, apart)
      start('b')
      await runAll(apart, 8000)
      expect([...held.values()].reduce((a, b) => a + b)).toBe(12)
      expect(Math.abs((held.get('a') as number) - (held.get('b') as number))).toBeLessThanOrEqual(2)
      start('c')
      await runAll(8000, 9000)
      endA()
      await runAll(9000, 16_000)
      expect(held.get('a')).toBe(0)
      expect(held.get('c')).toBeGreaterThan(3)
      expect([...held.values()].reduce((a, b) => a + b)).toBe(12)
    }),
    { numRuns: 20 },
  )
}, 60_000)
