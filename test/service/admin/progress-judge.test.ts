import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { progressJudge, type Verdict } from '../../../src/service/admin/progress-judge.ts'
import type { RouteStatus } from '../../../src/service/start-route.ts'
import { idleStatus } from './fake-route.ts'

const BOUND = 60_000
const calm: readonly RouteStatus['state'][] = ['standby', 'paused', 'stopped']

interface Seen {
  readonly status: RouteStatus
  readonly at: number
}

/** What a route may be seen as: few values each, so that stalls are common, and all of what can be unknown. */
const anyHistory: fc.Arbitrary<readonly Seen[]> = fc
  .array(
    fc.record({
      afterMs: fc.constantFrom(0, 1, 1000, 5000, 20_000, 60_000, 60_001),
      state: fc.constantFrom<RouteStatus['state']>('running', 'running', 'running', 'waiting', 'starting', ...calm),
      saved: fc.constantFrom(undefined, '', '7', '7', '7', '8'),
      position: fc.constantFrom(undefined, '7', '8', '9'),
      handled: fc.nat(3),
      backlog: fc.constantFrom(undefined, 0n, 5n, 5n, 6n),
      oldestUnreadAt: fc.constantFrom(undefined, undefined, 1),
      blocked: fc.constantFrom(undefined, undefined, { holder: 'connection 7', blockedMs: 1 }),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((steps) => {
    let at = 0
    return steps.map(({ afterMs, backlog, ...status }) => {
      at += afterMs
      const counted = backlog === undefined ? undefined : { count: backlog, unit: 'events' as const }
      return { at, status: { ...idleStatus, ...status, backlog: counted } }
    })
  })

/** The rule, word for word: for longer than the bound, from one time that events were seen to wait, they never did not, and nothing was saved. */
function isStuck(history: readonly Seen[], now: number): boolean {
  return history.some((from, i) => {
    const since = history.slice(i)
    return (
      now - from.at > BOUND &&
      waits(from.status) === true &&
      since.every(({ status }) => !calm.includes(status.state) && waits(status) !== false) &&
      since.every(({ status }) => status.saved === from.status.saved)
    )
  })
}

function waits({ state, backlog, oldestUnreadAt, blocked }: RouteStatus): boolean | undefined {
  if (blocked !== undefined || oldestUnreadAt !== undefined || (backlog?.count ?? 0n) > 0n) return true
  return backlog !== undefined ? false : state === 'running' ? undefined : true
}

function judged(history: readonly Seen[], now: number): Verdict {
  const judge = progressJudge({ readyAfterMs: BOUND })
  for (const { status, at } of history) judge.saw(status, at)
  return judge.verdict(now)
}

const busy: RouteStatus = { ...idleStatus, backlog: { count: 5n, unit: 'events' } }

describe('whether a route is ready', () => {
  it('follows from its history alone: events that wait, and nothing saved, for longer than the bound', () => {
    fc.assert(
      fc.property(anyHistory, fc.constantFrom(0, 1, 20_000, BOUND), (history, laterMs) => {
        const now = (history.at(-1)?.at ?? 0) + laterMs
        expect(judged(history, now).ready).toBe(!isStuck(history, now))
      }),
      { numRuns: 20_000 },
    )
  })

  it('is no matter of what is forwarded again and again where nothing can be saved', () => {
    const history = [0, 30_000, 60_001].map((at, i) => ({
      at,
      status: { ...busy, handled: 100 * i, position: `${i}` },
    }))
    expect(judged(history, 60_001)).toEqual({ ready: false, reason: 'no progress for 60 s: 5 events wait' })
  })

  it('says what is in the way', () => {
    const reason = (status: Partial<RouteStatus>): string => {
      const verdict = judged(
        [0, 60_001].map((at) => ({ at, status: { ...idleStatus, backlog: undefined, ...status } })),
        60_001,
      )
      return verdict.ready ? 'ready' : verdict.reason
    }
    expect(reason({ blocked: { holder: 'connection 7', blockedMs: 60_001 } })).toContain('blocked by connection 7')
    expect(reason({ state: 'waiting' })).toContain('it fails and starts again')
    expect(reason({ state: 'starting' })).toContain('it is starting')
    expect(reason({ oldestUnreadAt: 1 })).toContain('events wait')
    expect(reason({})).toBe('ready') // a source that cannot tell is not taken to be stuck
  })

  it('is no while nothing is known, and when it has not told its state for longer than the bound', () => {
    expect(judged([], 0)).toEqual({ ready: false, reason: 'its state is not known yet' })
    const idle = [{ at: 0, status: idleStatus }]
    expect(judged(idle, BOUND).ready).toBe(true)
    expect(judged(idle, BOUND + 1)).toEqual({ ready: false, reason: 'it has not told its state for 60 s' })
  })
})
