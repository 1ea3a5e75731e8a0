import type { Grant, Leases } from '../../src/core/lease.ts'

/** Processes, and a store of leases, in virtual time: one thing happens after the other. */
export interface LeaseWorld {
  now(): number
  /** Everybody goes on until so much time has passed. */
  run(untilMs: number): Promise<void>
  /** At a time: something of the schedule, which belongs to no process. */
  at(ms: number, happen: () => void): void
  process(name: string): SimulatedProcess
  /** Every grant, in order. */
  readonly grants: readonly { readonly holder: string; readonly token: bigint; readonly at: number }[]
}

/** A process: its clock, and its way to the store. */
export interface SimulatedProcess {
  readonly name: string
  readonly leases: Leases
  readonly clock: { sleep(ms: number, signal?: AbortSignal): Promise<void> }
  monotonic(): number
  /** Nothing of it goes on until then, and then everything that was due. */
  freeze(forMs: number): void
  /** What it sends, and what it is sent, is lost until then. */
  cutOff(forMs: number): void
  /** Nothing of it ever goes on. */
  kill(): void
}

/** What no answer comes to is an error after this, as with the real stores. */
const UNANSWERED_MS = 4000

/** Makes a world. `delay` says how long each message takes. */
export function leaseWorld(delay: () => number): LeaseWorld {
  let now = 0
  let order = 0
  const queue: { readonly at: number; readonly order: number; readonly happen: () => void }[] = []
  const at = (ms: number, happen: () => void): void => {
    queue.push({ at: Math.max(now, ms), order: order++, happen })
  }

  const row = { holder: '', token: 0n, expiresAt: 0 }
  const grants: { readonly holder: string; readonly token: bigint; readonly at: number }[] = []
  const touch = (holder: string, ttlMs: number): void => {
    Object.assign(row, { holder, expiresAt: now + ttlMs })
  }

  function process(name: string): SimulatedProcess {
    let frozenUntil = 0
    let cutUntil = 0
    let dead = false
    /** As soon as the process can, from a time on. */
    const inProcess = (ms: number, happen: () => void): void =>
      at(ms, () => {
        if (dead) return
        if (now < frozenUntil) inProcess(frozenUntil, happen)
        else happen()
      })
    const ask = <T>(handle: () => T, signal?: AbortSignal): Promise<T> =>
      new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
        inProcess(now + UNANSWERED_MS, () => reject(new Error('no answer')))
        if (now < cutUntil) return
        at(now + delay(), () => {
          const answer = handle()
          const arrives = now + delay()
          if (now >= cutUntil) inProcess(arrives, () => resolve(answer))
        })
      })
    return {
      name,
      leases: {
        name: 'simulated',
        get: (_, { signal } = {}) =>
          ask(() => {
            const { holder, expiresAt } = row
            return holder === '' || expiresAt <= now ? undefined : { holder, expiresInMs: expiresAt - now }
          }, signal),
        acquire: (_, { holder, ttlMs, signal }) =>
          ask((): Grant | undefined => {
            if (row.holder !== '' && row.holder !== holder && row.expiresAt > now) return undefined
            row.token++
            touch(holder, ttlMs)
            grants.push({ holder, token: row.token, at: now })
            return { token: row.token }
          }, signal),
        renew: (_, { token, ttlMs, signal }) =>
          ask(() => {
            if (row.token !== token || row.holder === '') return false
            touch(row.holder, ttlMs)
            return true
          }, signal),
        release: (_, { token, signal }) =>
          ask(() => {
            if (row.token === token && row.holder !== '') touch('', 0)
          }, signal),
      },
      clock: {
        sleep: (ms, signal) =>
          new Promise((resolve, reject) => {
            if (signal?.aborted) return reject(signal.reason)
            signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
            inProcess(now + ms, resolve)
          }),
      },
      monotonic: () => now,
      freeze: (ms) => {
        frozenUntil = now + ms
      },
      cutOff: (ms) => {
        cutUntil = now + ms
      },
      kill: () => {
        dead = true
      },
    }
  }

  return {
    now: () => now,
    at,
    process,
    grants,
    run: async (untilMs) => {
      for (;;) {
        await drained()
        let first = -1
        for (const [i, each] of queue.entries()) {
          const best = queue[first]
          if (best === undefined || each.at < best.at || (each.at === best.at && each.order < best.order)) first = i
        }
        const next = queue[first]
        if (next === undefined || next.at > untilMs) break
        queue.splice(first, 1)
        now = next.at
        next.happen()
      }
      now = untilMs
    },
  }
}

/** Resolves when every promise that can has gone on. */
function drained(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve))
}
