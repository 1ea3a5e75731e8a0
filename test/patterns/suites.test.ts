import { describe, test } from 'vitest'
import { type Clock, type Consumer, type RunOptions, type RunResult, type RunSpec, run } from '../../src/core/index.ts'
import { chaos, noRetry, retry, withTimeout } from '../../src/patterns/index.ts'
import { conformance } from '../../src/testing/conformance/index.ts'

/** A run loop whose consumer is decorated by something that, as it is set, changes nothing. */
function decorated(decorate: (consumer: Consumer) => Consumer): typeof run {
  return ({ consumer, ...spec }: RunSpec, options?: RunOptions): Promise<RunResult> => {
    const isPlain = typeof consumer.handle === 'function' && consumer.settled === undefined // else it is refused
    return run({ ...spec, consumer: isPlain ? decorate(consumer) : consumer }, options)
  }
}

/** The time of a handler is never over: the suite takes each sleep on its own clock for one of the run. */
const still: Clock = {
  now: () => 0,
  sleep: (_ms, signal) =>
    new Promise((_resolve, reject) => signal?.addEventListener('abort', () => reject(signal.reason), { once: true })),
  yield: async () => {},
}
const off = chaos({ seed: 1, probability: 1 })
off.enabled = false

describe.each([
  ['retry', decorated((consumer) => retry(consumer, noRetry))],
  ['withTimeout', decorated((consumer) => withTimeout(consumer, { timeoutMs: 1, clock: still }))],
  ['chaos', decorated(off.consumer)],
])('run of a consumer that %s decorates keeps its promises', (_name, decoratedRun) => {
  const only = ['L1', 'L2', 'L3', 'L4', 'L5', 'L7', 'L8', 'L9', 'L10', 'L11', 'L12', 'L16', 'L18', 'O4', 'Y1', 'L21']
  conformance({ of: 'run', create: () => ({ run: decoratedRun }), only, test, runs: 40, seed: 1, timeLimitMs: 20_000 })
})
