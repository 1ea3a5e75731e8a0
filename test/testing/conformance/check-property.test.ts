import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkProperty } from '../../../src/testing/conformance/check-property.ts'
import { describeFailure } from '../../../src/testing/conformance/describe-failure.ts'
import type { Command, Property, Subject, Suite } from '../../../src/testing/conformance/property.ts'
import { formatToken, parseToken } from '../../../src/testing/conformance/token.ts'
import { Violation } from '../../../src/testing/conformance/violation.ts'

interface Counter extends Subject {
  /** What an amount is multiplied with. */
  readonly step: number
  reset?(): void
}
interface Add extends Command {
  readonly do: 'add'
  readonly amount: number
}

let open = 0

/** A subject that counts how many of them are open. */
function counter(step: number): Counter {
  open++
  return {
    step,
    [Symbol.asyncDispose]: async () => {
      open--
    },
  }
}

const schedules = fc.array(fc.record({ do: fc.constant('add' as const), amount: fc.nat({ max: 9 }) }), {
  maxLength: 12,
})
const small: Property<Counter, Add> = {
  id: 'N1',
  grade: 'required',
  title: 'No second amount is above 5.',
  why: 'It would overflow.',
  schedules,
}
const suite: Suite<Counter, Add> = {
  properties: [small],
  play: async ({ step }, schedule, steps) => {
    let above = 0
    for (const { amount } of schedule) {
      steps.step(`add ${amount}`)
      if (amount * step > 5) above++
      steps.result(String(above))
      if (above === 2) throw new Violation('N1', `expected one amount above 5, found a second: ${amount}`)
    }
  },
}
const options = { runs: 200, seed: 7, timeLimitMs: 5000, limitMs: 100 }

describe('checking a property', () => {
  test('passes what holds, and says how many schedules it took', async () => {
    const result = await checkProperty(suite, small, () => counter(0), options)
    expect(result).toMatchObject({ id: 'N1', outcome: 'passed', schedules: 200, refusals: [] })
  })

  test('shrinks what breaks it, down to the commands that matter', async () => {
    const { outcome, failure } = await checkProperty(suite, small, () => counter(1), options)
    expect(outcome).toBe('failed')
    expect(failure?.property).toBe('N1')
    expect(failure?.schedule).toEqual([6, 6].map((amount) => ({ do: 'add', amount })))
    expect(failure?.steps).toEqual(['add 6 → 1', 'add 6 → 2'])
    expect(failure?.message).toBe('expected one amount above 5, found a second: 6')
  })

  test('plays the same schedules for the same seed', async () => {
    const seen = async (seed: number): Promise<unknown> => {
      const played: unknown[] = []
      const spy: typeof suite = { ...suite, play: async (_subject, schedule) => void played.push(schedule) }
      await checkProperty(spy, small, () => counter(0), { ...options, seed })
      return played
    }
    expect(await seen(3)).toEqual(await seen(3))
    expect(await seen(3)).not.toEqual(await seen(4))
  })

  test('disposes of every subject, whatever became of the schedule', async () => {
    open = 0
    await checkProperty(suite, small, () => counter(0), options)
    await checkProperty(suite, small, () => counter(1), options)
    expect(open).toBe(0)
  })

  test('lists what cannot be tested as untested, with the reason', async () => {
    const needy = { ...small, needs: ['reset' as const] }
    expect(await checkProperty(suite, needy, () => counter(1), options)).toMatchObject({
      outcome: 'untested',
      reason: 'it needs reset, which create() does not return',
      schedules: 0,
    })
    const { schedules: _, ...unseen } = { ...small, grade: 'untested' as const }
    expect(await checkProperty(suite, unseen, () => counter(1), options)).toMatchObject({ outcome: 'untested' })
    const refusing: typeof suite = { ...suite, play: async (_s, _c, steps) => steps.refused('adding') }
    expect(await checkProperty(refusing, { ...small, option: 'adding' }, () => counter(0), options)).toMatchObject({
      outcome: 'untested',
      reason: 'the subject refuses, or does without: adding',
      refusals: ['adding'],
    })
  })

  test('begins no schedule after the time limit, and ends the one that it has begun', async () => {
    let ended = 0
    const slow: typeof suite = {
      ...suite,
      play: async () => {
        await new Promise((resolve) => setTimeout(resolve, 30))
        ended++
      },
    }
    const result = await checkProperty(slow, small, () => counter(0), { ...options, timeLimitMs: 100 })
    expect(result.outcome).toBe('passed')
    expect(result.schedules).toBeLessThan(200)
    expect(ended).toBe(result.schedules)
  })

  test('rejects with what create throws: that is no violation', async () => {
    const refused = new Error('no server')
    const create = (): Counter => {
      throw refused
    }
    await expect(checkProperty(suite, small, create, options)).rejects.toBe(refused)
  })

  test('rejects with what dispose throws, and if there is no subject: neither passes', async () => {
    const stuck = new Error('still open')
    const undisposable = { step: 0, [Symbol.asyncDispose]: () => Promise.reject(stuck) }
    await expect(checkProperty(suite, small, () => undisposable, options)).rejects.toBe(stuck)
    const nothing = (): Counter => undefined as unknown as Counter
    await expect(checkProperty(suite, { ...small, needs: ['reset'] }, nothing, options)).rejects.toThrow(
      'create() must return what is under test, an object, but returned undefined',
    )
  })

  test('an error that is no violation breaks the property as well, and is kept as the cause', async () => {
    const broken = new TypeError('not a function')
    const failing: typeof suite = { ...suite, play: () => Promise.reject(broken) }
    const { failure } = await checkProperty(failing, small, () => counter(1), options)
    expect(failure).toMatchObject({ property: 'N1', cause: broken })
    expect(failure?.message).toContain('not a function')
  })
})

describe('a failure in words', () => {
  test('has the rule, the steps, a token that holds the schedule, and a test to copy', async () => {
    const { failure } = await checkProperty(suite, small, () => counter(1), options)
    if (failure === undefined) throw new Error('expected a failure')
    const text = describeFailure('counter', failure, small)
    expect(text).toContain('N1 broken: expected one amount above 5, found a second: 6')
    expect(text).toContain('The rule: No second amount is above 5.')
    expect(text).toContain('   1. add 6 → 1\n   2. add 6 → 2')
    const token = /Replay: (\S+)/.exec(text)?.[1] ?? ''
    expect(parseToken(token)).toEqual({ of: 'counter', property: 'N1', schedule: failure.schedule })
    expect(text).toContain("test('N1 holds', async () => {")
    expect(text).toContain('{ do: "add", amount: 6 }')
  })
})

describe('a token', () => {
  test('gives back any schedule', () => {
    const any = fc.array(fc.record({ do: fc.string(), what: fc.jsonValue() }))
    fc.assert(
      fc.property(any, (schedule) => {
        const plain = JSON.parse(JSON.stringify(schedule)) as Command[]
        expect(parseToken(formatToken({ of: 'x', property: 'y', schedule: plain })).schedule).toEqual(plain)
      }),
    )
  })

  test('that is none is refused with what to do', () => {
    const bomb = formatToken({ of: 'x', property: 'y', schedule: [{ do: 'a'.repeat(2_000_000) }] })
    for (const token of ['', 'x', 'eyJ9', '%%%', formatToken({ of: 'x', property: 'y', schedule: [] }).slice(3), bomb])
      expect(() => parseToken(token)).toThrow(/is not a replay token: copy the whole word/)
  })
})
