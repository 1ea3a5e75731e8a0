import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import type { Clock } from '../../src/core/clock.ts'
import type { Event } from '../../src/core/event.ts'
import type { Notifier } from '../../src/core/notifier.ts'
import type { TableReader } from '../../src/sql/table-reader.ts'

/** An event of type `id % 2`. */
export function numberedEvent(id: number, bytes = 0): Event {
  const metadata = bytes === 0 ? null : new Uint8Array(bytes)
  return { id: String(id), type: id % 2, foreignId: 'a', timestamp: 0, metadata, headers: {} }
}

/** A transaction of the simulated table. */
export interface SimulatedTransaction {
  /** Gives out the next id. */
  insert(): void
  /** Its rows are seen from now on. */
  commit(): void
  /** Its ids are missing for good. */
  rollback(): void
}

/** An event table whose ids are given out before the commit, as in MySQL. What it does takes a random number of turns. */
export interface SimulatedTable {
  connect(signal: AbortSignal): Promise<TableReader>
  begin(): SimulatedTransaction
  /** The ids that are committed, in order. */
  readonly committed: readonly number[]
  /** Readers that are open now, and were at most. */
  readonly readers: { readonly open: number; readonly most: number }
  /** How many pages were read. */
  readonly pages: number
  /** What the next page is read fails with, once. */
  failNext(error: Error): void
  /** Deletes a row. */
  delete(id: number): void
}

/** Makes an empty table. `random` is from 0 to below 1. */
export function simulatedTable(random: () => number): SimulatedTable {
  const visible = new Set<number>()
  const open = new Set<Promise<void>>()
  let given = 0
  let readers = 0
  let most = 0
  let pages = 0
  let failure: Error | undefined

  const takeTime = async (signal: AbortSignal): Promise<void> => {
    for (let left = Math.floor(random() * 4); left > 0; left--) await turn()
    signal.throwIfAborted()
  }
  /** What is seen at some moment between the question and the answer. */
  const asked = async <T>(signal: AbortSignal, look: () => T): Promise<T> => {
    await takeTime(signal)
    const seen = look()
    await takeTime(signal)
    return seen
  }
  const committed = (): number[] => [...visible].sort((a, b) => a - b)

  return {
    get committed() {
      return committed()
    },
    get readers() {
      return { open: readers, most }
    },
    get pages() {
      return pages
    },
    failNext: (error) => {
      failure = error
    },
    delete: (id) => void visible.delete(id),
    begin: () => {
      const ids: number[] = []
      const over = Promise.withResolvers<void>()
      open.add(over.promise)
      const end = (): void => {
        open.delete(over.promise)
        over.resolve()
      }
      return {
        insert: () => void ids.push(++given),
        commit: () => {
          for (const id of ids) visible.add(id)
          end()
        },
        rollback: end,
      }
    },
    connect: async (signal) => {
      await takeTime(signal)
      most = Math.max(most, ++readers)
      let isOpen = true
      return {
        page: (from, limit) => {
          pages++
          if (!isOpen) throw new Error('a reader that is closed was asked for a page')
          const failing = failure
          failure = undefined
          if (failing !== undefined) throw failing
          return asked(signal, () =>
            committed()
              .filter((id) => id >= Number(from))
              .slice(0, limit)
              .map((id) => numberedEvent(id)),
          )
        },
        newest: () => asked(signal, () => BigInt(committed().at(-1) ?? 0)),
        settleWriters: async () => {
          const aborted = Promise.withResolvers<never>()
          signal.addEventListener('abort', () => aborted.reject(signal.reason))
          await Promise.race([Promise.all([...open]), aborted.promise])
          await takeTime(signal)
        },
        [Symbol.asyncDispose]: async () => {
          if (isOpen) readers--
          isOpen = false
        },
      }
    },
  }
}

/** A clock on which a ms is a turn, or on which no time passes. */
export function turningClock({ stands = false }: { readonly stands?: boolean } = {}): Clock {
  let now = 0
  return {
    now: () => now,
    sleep: async (ms, signal) => {
      if (stands) return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)))
      for (let left = ms; left > 0; left--) {
        await turn()
        now++
        signal?.throwIfAborted()
      }
    },
    yield: () => turn(),
  }
}

/** Numbers from 0 to below 1 that follow from a seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Carries hints, each after a random number of turns. */
export function simulatedNotifier(random: () => number): Notifier {
  const subscribed = new Set<() => void>()
  const takeTime = async (): Promise<void> => {
    for (let left = Math.floor(random() * 6); left > 0; left--) await turn()
  }
  return {
    notify: async () => {
      await takeTime()
      for (const each of subscribed) void takeTime().then(each)
      await takeTime()
    },
    subscribe: async (onHint, signal) => {
      const ended = once(signal, 'abort')
      await takeTime()
      subscribed.add(onHint)
      onHint()
      await ended
      subscribed.delete(onHint)
    },
  }
}
