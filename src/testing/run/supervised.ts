import { getEventListeners } from 'node:events'
import type { Clock } from '../../core/clock.ts'
import { codeOf, isRetriable, messageOf } from '../../core/errors.ts'
import type { Simulation } from '../simulation/simulation.ts'
import type { World } from './run-world.ts'

/** How an attempt, or a supervisor, ended. */
export type SupervisedOutcome = { readonly result: unknown } | { readonly error: unknown }

/** Watches a supervisor: when it starts again, and how it ends. */
export interface Supervised {
  readonly signal: AbortSignal
  /** What the supervisor is given as its clock. */
  readonly clock: Clock
  readonly random: () => number
  abort(): void
  /** An attempt begins. */
  begins(signal: AbortSignal | undefined): void
  /** It has ended. */
  ends(outcome: SupervisedOutcome, progress: boolean): void
  /** The supervisor has. */
  settles(outcome: SupervisedOutcome): undefined
  /** It does not end: which property that breaks. */
  stuck(): string
  /** How many attempts there were. */
  attempts(): number
}

const MIN_MS = 100
const MAX_MS = 30_000
const DUELS = 3

/** Makes one. `random` is what the jitter is made of. */
export function supervised(
  world: World,
  sim: Simulation,
  { random, graceMs, controller }: { random: number; graceMs: number; controller: AbortController },
): Supervised {
  const { violate } = world
  const now = (): number => sim.clock.now()
  let attempts = 0
  let alive = false
  let given: AbortSignal | undefined
  let last: SupervisedOutcome | undefined
  let endedAt = now()
  let abortedAt: number | undefined
  let failures = 0
  let duels = 0
  let sleeping = 0
  /** What has to follow the last attempt. */
  let next: { readonly start: boolean; readonly delayMs: number; readonly property: string; readonly why: string } = {
    start: true,
    delayMs: 0,
    property: 'V1',
    why: 'it is the first',
  }

  function afterFailure(error: unknown, progress: boolean): typeof next {
    const property = 'V4'
    if (!isRetriable(error)) return { start: false, delayMs: 0, property, why: `"${messageOf(error)}" cannot pass` }
    if (isReset(error)) {
      failures = 0
      duels = 0
      return { start: true, delayMs: 0, property: 'V6', why: 'an operator has reset the cursor' }
    }
    const duel = /^(CURSOR_CONFLICT|FENCED)$/.test(codeOf(error) ?? '')
    duels = duel ? duels + 1 : 0
    failures = progress && !duel ? 1 : failures + 1
    if (duels === DUELS) return { start: false, delayMs: 0, property: 'V5', why: `it lost ${DUELS} duels in a row` }
    if (duel) return { start: true, delayMs: MAX_MS, property: 'V5', why: 'another runner took over' }
    const longest = Math.min(MAX_MS, MIN_MS * 2 ** (failures - 1))
    const why = progress ? 'it had made progress, and failed' : `${failures} failures in a row`
    return { start: true, delayMs: random * longest, property: progress ? 'V3' : 'V2', why }
  }

  return {
    signal: controller.signal,
    clock: {
      now: () => sim.clock.now() + world.offset,
      sleep: async (ms, signal) => {
        sleeping++
        try {
          await sim.clock.sleep(ms, signal)
        } finally {
          sleeping--
        }
      },
      yield: sim.clock.yield,
    },
    random: () => random,
    abort: () => {
      if (abortedAt !== undefined) return
      abortedAt = now()
      controller.abort(new Error('aborted by the schedule'))
      if (alive && given?.aborted !== true)
        violate('V7', 'expected the signal of the attempt to be aborted with that of the supervisor, but it is not')
    },
    attempts: () => attempts,
    stuck: () => (abortedAt === undefined ? 'V1' : alive ? 'V8' : 'V7'),
    begins: (signal) => {
      const waited = now() - endedAt
      attempts++
      given = signal
      if (alive) violate('V1', 'expected one attempt at a time, but another begins while one is at work')
      alive = true
      if (last !== undefined && 'result' in last) violate('V1', 'expected no other attempt after one that ended well')
      if (controller.signal.aborted) violate('V7', 'expected no other attempt after the abort, but one begins')
      else if (!next.start) violate(next.property, `expected no other attempt, since ${next.why}, but one begins`)
      else if (Math.abs(waited - next.delayMs) > 1)
        violate(
          next.property,
          `expected the next attempt after ${next.delayMs} ms (random() is ${random}), since ${next.why}, but it begins after ${waited} ms`,
        )
    },
    ends: (outcome, progress) => {
      alive = false
      endedAt = now()
      last = outcome
      if ('error' in outcome) next = afterFailure(outcome.error, progress)
      if (controller.signal.aborted) abortedAt ??= endedAt
    },
    settles: (outcome) => {
      if (sleeping > 0) violate('Y1', 'expected no timer of the supervisor to be left, but something still sleeps')
      if (getEventListeners(controller.signal, 'abort').length > 0 && !alive)
        violate('Y1', 'expected no listener of the supervisor to be left on the signal')
      const aborted = controller.signal.aborted
      if ('error' in outcome) return judgeError(outcome.error)
      if (last === undefined || (alive && !aborted))
        return violate('V1', 'expected it to wait for the attempt, but it ends')
      if (alive)
        return violate(
          'V8',
          'expected GRACE_EXCEEDED where the attempt does not settle, but it ends as if nothing was left',
        )
      if ('result' in last) {
        if (last.result !== outcome.result)
          violate('V1', 'expected the result of the attempt, but it ends with another')
        return
      }
      const { reason, error } = (outcome.result ?? {}) as { reason?: unknown; error?: unknown }
      if (!aborted)
        return violate(
          next.property,
          `expected ${next.start ? 'another attempt' : 'a rejection'}, since ${next.why}, but it ends`,
        )
      if (!isRetriable(last.error)) return violate('V4', `expected it to reject, since ${next.why}, but it resolves`)
      if (reason !== 'aborted' || error !== last.error)
        violate(
          'V7',
          `expected { reason: 'aborted' } with the last failure, "${messageOf(last.error)}", but found ${String(reason)} with ${messageOf(error)}`,
        )
      if (now() - Math.max(abortedAt ?? endedAt, endedAt) > 1)
        violate('V7', `expected it to end as soon as it is aborted, but it took ${now() - (abortedAt ?? 0)} ms`)
    },
  }
  function judgeError(error: unknown): undefined {
    if (alive) {
      if (codeOf(error) !== 'GRACE_EXCEEDED' || abortedAt === undefined)
        violate('V8', `expected it to wait for the attempt, but it rejects: ${messageOf(error)}`)
      else if (Math.abs(now() - abortedAt - graceMs) > 1)
        violate('V8', `expected it to give up ${graceMs} ms after the abort, but it does after ${now() - abortedAt} ms`)
      return
    }
    if (last === undefined || 'result' in last)
      return violate('V1', `expected the result of the attempt, but it rejects: ${messageOf(error)}`)
    if (duels === DUELS) {
      if (codeOf(error) !== 'ANOTHER_RUNNER' || isRetriable(error))
        violate('V5', `expected ANOTHER_RUNNER, not retriable, since ${next.why}, but it rejects: ${messageOf(error)}`)
    } else if (isRetriable(last.error)) {
      const expected = controller.signal.aborted ? "{ reason: 'aborted' }" : 'another attempt'
      violate(
        controller.signal.aborted ? 'V7' : next.property === 'V2' ? 'V1' : next.property,
        `expected ${expected}, since ${next.why}, but it rejects: ${messageOf(error)}`,
      )
    } else if (error !== last.error)
      violate('V4', `expected it to reject with "${messageOf(last.error)}", but it does with ${messageOf(error)}`)
  }
}

function isReset(error: unknown): boolean {
  for (let e = error; typeof e === 'object' && e !== null; e = (e as { cause?: unknown }).cause)
    if ((e as { reset?: unknown }).reset === true) return true
  return false
}
