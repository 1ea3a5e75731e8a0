import fc from 'fast-check'
import { expect, test } from 'vitest'
import { codeOf } from '../../src/core/errors.ts'
import {
  constant,
  exponential,
  type Failure,
  noRetry,
  type RetryPolicy,
  retryIf,
  stopAfterAttempts,
  stopAfterTime,
  withJitter,
  withMaxDelay,
} from '../../src/patterns/index.ts'
import { thrownBy } from './thrown-by.ts'

const failure = (given: Partial<Failure> = {}): Failure => ({
  attempt: 1,
  elapsedMs: 0,
  error: 'e',
  random: 0,
  ...given,
})

const failures: fc.Arbitrary<Failure> = fc.record({
  attempt: fc.oneof(fc.integer({ min: 1, max: 20 }), fc.constantFrom(0, -1, 64, 1024, 1e6, Number.MAX_SAFE_INTEGER)),
  elapsedMs: fc.oneof(fc.nat(), fc.constant(Number.MAX_SAFE_INTEGER)),
  error: fc.string(),
  random: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
})
const ms = fc.oneof(
  fc.nat({ max: 100_000 }),
  fc.double({ min: 0, max: 1e6, noNaN: true }),
  fc.constant(Number.MAX_SAFE_INTEGER),
)
const unit = fc.double({ min: 0, max: 1, noNaN: true })

/** Any policy that can be composed. */
const policies: fc.Arbitrary<RetryPolicy> = fc.letrec<{ policy: RetryPolicy }>((tie) => ({
  policy: fc.oneof(
    { maxDepth: 4 },
    fc.constant(noRetry),
    ms.map((delay) => constant(delay)),
    fc.tuple(ms, fc.double({ min: 1, max: 1e3, noNaN: true })).map(([min, factor]) => exponential(min, { factor })),
    fc.tuple(tie('policy'), unit).map(([policy, factor]) => withJitter(policy, { factor })),
    fc.tuple(tie('policy'), ms).map(([policy, max]) => withMaxDelay(policy, max)),
    fc.tuple(tie('policy'), fc.integer({ min: 1, max: 30 })).map(([policy, most]) => stopAfterAttempts(policy, most)),
    fc.tuple(tie('policy'), ms).map(([policy, total]) => stopAfterTime(policy, total)),
    tie('policy').map((policy) => retryIf(policy, ({ error }) => error !== 'final')),
  ),
})).policy

test('whatever is composed, a delay is a finite number, 0 or more, and the same for the same failure', () => {
  fc.assert(
    fc.property(policies, failures, (policy, given) => {
      const delay = policy(given)
      expect(policy(given)).toBe(delay)
      if (delay === 'stop') return
      expect(Number.isFinite(delay)).toBe(true)
      expect(delay).toBeGreaterThanOrEqual(0)
    }),
    { numRuns: 2000 },
  )
})

test('without jitter no delay is shorter than the one before; the first is the least one', () => {
  fc.assert(
    fc.property(ms, fc.double({ min: 1, max: 10, noNaN: true }), ms, fc.integer({ min: 1, max: 2000 }), (...given) => {
      const [min, factor, max, attempt] = given
      for (const policy of [
        constant(min),
        exponential(min, { factor }),
        withMaxDelay(exponential(min, { factor }), max),
      ]) {
        const [now, next] = [policy(failure({ attempt })), policy(failure({ attempt: attempt + 1 }))] as number[]
        expect(next).toBeGreaterThanOrEqual(now as number)
      }
      expect(exponential(min, { factor })(failure())).toBe(min)
    }),
  )
})

test('jitter shortens a delay, by its factor at most; the maximum bounds it', () => {
  fc.assert(
    fc.property(ms, unit, ms, failures, (min, factor, max, given) => {
      const whole = exponential(min)(given) as number
      const short = withJitter(exponential(min), { factor })(given) as number
      expect(short).toBeLessThanOrEqual(whole)
      expect(short).toBeGreaterThanOrEqual(whole * (1 - factor))
      expect(withMaxDelay(withJitter(exponential(min)), max)(given)).toBeLessThanOrEqual(max)
    }),
  )
})

test('an attempt that is counted from 0 waits as the first does: windshift waits for less than nothing', () => {
  for (const attempt of [0, -1]) expect(exponential(100)(failure({ attempt }))).toBe(100)
})

test('an exponent that overflows is a long delay, and no delay stays none', () => {
  expect(exponential(100)(failure({ attempt: 1e9 }))).toBe(Number.MAX_SAFE_INTEGER)
  expect(exponential(0)(failure({ attempt: 1e9 }))).toBe(0)
  expect(withMaxDelay(exponential(100), 30_000)(failure({ attempt: 1e9 }))).toBe(30_000)
})

test('policies stop after so many attempts, after so much time, and where somebody decides', () => {
  const count = (policy: RetryPolicy): number => {
    for (let attempt = 1, elapsedMs = 0; ; attempt++) {
      const delay = policy(failure({ attempt, elapsedMs }))
      if (delay === 'stop') return attempt
      elapsedMs += delay
    }
  }
  expect(count(noRetry)).toBe(1)
  expect(count(stopAfterAttempts(constant(10), 5))).toBe(5)
  expect(count(stopAfterTime(constant(10), 35))).toBe(4) // after 0, 10, 20 and 30 ms
  expect(count(stopAfterAttempts(stopAfterTime(exponential(1), 100), 1000))).toBe(7)
  const decided = retryIf(constant(10), ({ error }) => error === 'busy')
  expect([decided(failure({ error: 'busy' })), decided(failure({ error: 'gone' }))]).toEqual([10, 'stop'])
})

test('numbers that make no policy are refused', () => {
  for (const make of [
    () => constant(-1),
    () => constant(Number.NaN),
    () => exponential(Number.POSITIVE_INFINITY),
    () => exponential(1, { factor: 0.5 }),
    () => withJitter(constant(1), { factor: 2 }),
    () => withMaxDelay(constant(1), -1),
    () => stopAfterAttempts(constant(1), 0),
    () => stopAfterTime(constant(1), Number.NaN),
  ])
    expect(codeOf(thrownBy(make))).toBe('OPTION_INVALID')
})
