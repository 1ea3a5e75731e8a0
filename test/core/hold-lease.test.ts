import { describe, expect, it } from 'vitest'
import { leasedSink } from '../../src/bridge/leased-sink.ts'
import { type HeldLease, holdLease } from '../../src/core/hold-lease.ts'
import type { Sink } from '../../src/core/sink.ts'
import { type LeaseWorld, leaseWorld, type SimulatedProcess } from './lease-world.ts'

const TTL_MS = 10_000

/** A world in which each message takes 1 ms, and a way to hold the one lease there. */
function stage(): {
  readonly world: LeaseWorld
  readonly process: SimulatedProcess
  hold<T>(work: (lease: HeldLease) => Promise<T>, options?: object, at?: SimulatedProcess): Promise<T | undefined>
} {
  const world = leaseWorld(() => 1)
  const process = world.process('a')
  return {
    world,
    process,
    hold: (work, options = {}, { name, leases, clock, monotonic } = process) =>
      holdLease({ leases, name: 'orders', holder: name, ttlMs: TTL_MS }, work, { clock, monotonic, ...options }),
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))

describe('holdLease', () => {
  it('keeps the lease for as long as the work takes, resolves as it does, and frees it then', async () => {
    const { world, process, hold } = stage()
    const result = hold(async ({ token, signal }) => {
      await process.clock.sleep(100_000)
      return `${token} ${signal.aborted}`
    })
    await world.run(50_000)
    const during = process.leases.get('orders')
    await world.run(50_100)
    expect((await during)?.holder).toBe('a')
    await world.run(100_100)
    expect(await result).toBe('1 false')
    const found = process.leases.get('orders')
    await world.run(100_200)
    expect(await found).toBeUndefined()
  })

  it('rejects as the work does, and frees the lease', async () => {
    const { world, process, hold } = stage()
    const failed = hold(() => Promise.reject(new Error('no')))
    const rejected = expect(failed).rejects.toThrow('no')
    await world.run(100)
    await rejected
    const found = process.leases.get('orders')
    await world.run(200)
    expect(await found).toBeUndefined()
  })

  it('ends within a second of the abort, also where the store does not answer any more', async () => {
    const { world, process, hold } = stage()
    const stopped = new AbortController()
    let endedAt = 0
    const held = hold(({ signal }) => aborted(signal), { signal: stopped.signal })
    const ended = Promise.resolve(held).then(() => {
      endedAt = world.now()
    })
    world.at(5000, () => process.cutOff(60_000))
    world.at(5001, () => stopped.abort(new Error('stopped')))
    await world.run(8000)
    await ended
    expect(endedAt).toBeGreaterThan(5000)
    expect(endedAt).toBeLessThanOrEqual(6001)
  })

  it('aborts the work, and refuses every write, before its time to live has passed since the last renewal was sent', async () => {
    const { world, process, hold } = stage()
    let lostAt = 0
    let refusedFrom = 0
    const work = hold(async ({ signal, check }) => {
      const looking = (async () => {
        for (;;) {
          try {
            check()
          } catch {
            refusedFrom = world.now()
            return
          }
          await process.clock.sleep(10)
        }
      })()
      await aborted(signal)
      lostAt = world.now()
      await looking
      throw signal.reason
    })
    const rejected = expect(work).rejects.toMatchObject({
      ...{ code: 'LEASE_LOST', retriable: true },
      message: expect.stringMatching(/the lease on "orders" in simulated is lost, since it could not be renewed/),
    })
    await world.run(5000)
    process.cutOff(1_000_000)
    await world.run(30_000)
    await rejected
    const sentAt = Math.floor(5000 / (TTL_MS / 3)) * (TTL_MS / 3)
    for (const at of [lostAt, refusedFrom]) {
      expect(at).toBeGreaterThan(5000)
      expect(at).toBeLessThan(sentAt + TTL_MS)
    }
  })

  it('looks at the time itself: a process that was frozen is refused its next write, before any timer has told it', async () => {
    const { world, process, hold } = stage()
    let check = (): void => {}
    hold(async (lease) => {
      check = lease.check
      await process.clock.sleep(60_000)
    }).catch(() => {})
    await world.run(5000)
    expect(check).not.toThrow()
    process.freeze(50_000)
    await world.run(20_000)
    expect(check).toThrow(/is lost/)
  })

  it('rejects with the loss, whatever the work resolves or rejects with after it, unless it was told to end', async () => {
    for (const after of ['resolves', 'rejects', 'is told to end']) {
      const { world, process, hold } = stage()
      const stop = new AbortController()
      const held = hold(
        async ({ signal }) => {
          await aborted(signal)
          if (after === 'is told to end') stop.abort()
          if (after === 'rejects') throw new Error('fenced')
          return 'done'
        },
        { signal: stop.signal },
      )
      const settled = Promise.allSettled([held])
      await world.run(100)
      process.cutOff(1_000_000)
      await world.run(60_000)
      const [outcome] = await settled
      if (after === 'is told to end') expect(outcome).toMatchObject({ value: 'done' })
      else expect(outcome).toMatchObject({ reason: { code: 'LEASE_LOST' } })
    }
  })

  it('ends its waiting at once by the signal, and hands that on to the work', async () => {
    const { world, process, hold } = stage()
    const stop = new AbortController()
    const first = hold(({ signal }) => aborted(signal).then(() => 'stopped'), { signal: stop.signal })
    await world.run(10)
    const waiting = new AbortController()
    const told: (string | undefined)[] = []
    const options = { signal: waiting.signal, onWait: (holder: string | undefined) => told.push(holder) }
    const second = hold(async () => {}, options, world.process('b'))
    await world.run(3000)
    expect(told).toEqual(['a', 'a', 'a']) // once a second
    const rejected = expect(second).rejects.toBe('enough')
    waiting.abort('enough')
    await rejected
    expect(
      await hold(
        async () => {},
        { once: true, clock: { sleep: () => Promise.reject(new Error('it waits')) } },
        {
          ...world.process('c'),
          leases: { ...process.leases, get: async () => ({ holder: 'a', expiresInMs: 1 }) },
        },
      ),
    ).toBeUndefined()
    stop.abort()
    await world.run(4000)
    expect(await first).toBe('stopped')
  })

  it('rejects where the store cannot be asked, and refuses a time to live that is none', async () => {
    const { world, process, hold } = stage()
    process.cutOff(1_000_000)
    const rejected = expect(hold(async () => {})).rejects.toThrow('no answer')
    await world.run(5000)
    await rejected
    await expect(
      holdLease({ leases: process.leases, name: 'orders', holder: 'a', ttlMs: 5 }, async () => {}),
    ).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  })
})

it('a destination with a lease is neither taken over nor written to once that is lost', async () => {
  const done: string[] = []
  const sink: Sink = {
    name: 'log',
    open: async () => {
      done.push('open')
      return {
        resumeFrom: '7',
        repair: 'a tail',
        append: async (events) => {
          done.push(`append ${events.length}`)
          return 'mark'
        },
        [Symbol.asyncDispose]: async () => void done.push('close'),
      }
    },
  }
  let lost = false
  const check = (): void => {
    if (lost) throw new Error('lost')
  }
  const leased = leasedSink(sink, { check })
  const options = { route: 'orders', source: 'events' }
  const writer = await leased.open(options)
  expect(writer).toMatchObject({ resumeFrom: '7', repair: 'a tail' })
  expect(await writer.append([], '8')).toBe('mark')
  lost = true
  await expect(writer.append([], '9')).rejects.toThrow('lost')
  await expect(leased.open(options)).rejects.toThrow('lost')
  await writer[Symbol.asyncDispose]()
  expect(done).toEqual(['open', 'append 0', 'close'])
})
