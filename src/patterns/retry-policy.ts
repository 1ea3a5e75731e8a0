import { OptionError } from '../core/errors.ts'

/** An attempt that has failed. */
export interface Failure {
  /** Which one it was, from 1. */
  readonly attempt: number
  /** How long ago the first one failed, in ms. */
  readonly elapsedMs: number
  readonly error: unknown
  /** From 0 to below 1, drawn anew for each failure. */
  readonly random: number
}

/**
 * What to do about a failed attempt: wait so many ms and try again, or stop. A pure function; any such function is a policy.
 *
 * @example const policy: RetryPolicy = ({ error }) => (codeOf(error) === 'BUSY' ? 50 : 'stop')
 */
export type RetryPolicy = (failure: Failure) => number | 'stop'

/** No policy makes a longer delay: whatever is added to it is still exact. */
const LONGEST_MS = Number.MAX_SAFE_INTEGER

/** Never tries again. */
export const noRetry: RetryPolicy = () => 'stop'

/** The same delay each time, in ms. */
export function constant(delayMs: number): RetryPolicy {
  const delay = checked('delayMs', delayMs, 0)
  return () => delay
}

/** `minDelayMs` after the first failure, and `factor` (default 2, at least 1) times the delay before after each further one. Without an end: see `withMaxDelay`. */
export function exponential(minDelayMs: number, { factor = 2 }: { readonly factor?: number } = {}): RetryPolicy {
  checked('minDelayMs', minDelayMs, 0)
  checked('factor', factor, 1)
  return ({ attempt }) => {
    if (minDelayMs === 0) return 0 // a power that overflows makes no number of it
    return Math.min(LONGEST_MS, minDelayMs * factor ** (attempt > 1 ? attempt - 1 : 0))
  }
}

/** Shortens each delay by a random part of it: at most by `factor`, from 0 to 1. Default: 1, anything from nothing to the whole delay. */
export function withJitter(policy: RetryPolicy, { factor = 1 }: { readonly factor?: number } = {}): RetryPolicy {
  checked('factor', factor, 0, 1)
  return (failure) => {
    const delay = policy(failure)
    return delay === 'stop' ? delay : delay * (1 - factor * failure.random)
  }
}

/** No delay is longer than `maxDelayMs`. */
export function withMaxDelay(policy: RetryPolicy, maxDelayMs: number): RetryPolicy {
  checked('maxDelayMs', maxDelayMs, 0)
  return (failure) => {
    const delay = policy(failure)
    return delay === 'stop' ? delay : Math.min(delay, maxDelayMs)
  }
}

/** Stops when `attempts` have failed, the first included. */
export function stopAfterAttempts(policy: RetryPolicy, attempts: number): RetryPolicy {
  checked('attempts', attempts, 1)
  return (failure) => (failure.attempt >= attempts ? 'stop' : policy(failure))
}

/** Stops where the next attempt would begin more than `totalMs` after the first failure. */
export function stopAfterTime(policy: RetryPolicy, totalMs: number): RetryPolicy {
  checked('totalMs', totalMs, 0)
  return (failure) => {
    const delay = policy(failure)
    return delay === 'stop' || failure.elapsedMs + delay > totalMs ? 'stop' : delay
  }
}

/** Stops at failures of which `decide` says false. */
export function retryIf(policy: RetryPolicy, decide: (failure: Failure) => boolean): RetryPolicy {
  return (failure) => (decide(failure) ? policy(failure) : 'stop')
}

function checked(name: string, value: number, min: number, max = LONGEST_MS): number {
  if (value >= min && value <= max) return value
  throw new OptionError(`${name} must be a number from ${min} to ${max}, but is ${value}`)
}
