import { describe, expect, test } from 'vitest'
import {
  CursorConflictError,
  CursorTrimmedError,
  type ErrorKind,
  errorKind,
  eventIdOf,
  FencedError,
  ReflexError,
  RunError,
  supervise,
} from '../../src/core/index.ts'
import { errorOf } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'

describe('the kind of an error', () => {
  test('is what it was made with, else whether it is worth another try', () => {
    expect(errorKind(new ReflexError('X', 'x', { kind: 'quota' }))).toBe('quota')
    expect(errorKind(new ReflexError('X', 'x'))).toBe('retriable')
    expect(errorKind(new ReflexError('X', 'x', { retriable: false }))).toBe('fatal')
    expect(errorKind(new CursorTrimmedError('log', { cursor: '1' }))).toBe('fatal')
    expect(errorKind(new FencedError('x'))).toBe('fenced')
    const conflict = { consumer: 'c', expected: '', actual: '1' }
    expect(errorKind(new CursorConflictError({ ...conflict, reset: false }))).toBe('fenced')
    expect(errorKind(new CursorConflictError({ ...conflict, reset: true }))).toBe('retriable')
  })

  test.each([
    ['retriable', true],
    ['fatal', false],
    ['poison', false],
    ['auth', false],
    ['quota', true],
    ['read-only', true],
    ['oversize', false],
    ['fenced', true],
  ] as const)('%s says whether trying soon again can help, unless that is said as well', (kind, retriable) => {
    expect(new ReflexError('X', 'x', { kind }).retriable).toBe(retriable)
    expect(new ReflexError('X', 'x', { kind, retriable: !retriable }).retriable).toBe(!retriable)
  })

  test('survives being wrapped, by this package or by others, and so does the event that it is about', () => {
    const cause = new ReflexError('EVENT_TOO_LARGE', 'x', { kind: 'oversize', eventId: '7' })
    const run = new RunError('handle', { consumer: 'c', cause })
    expect(run).toMatchObject({ code: 'EVENT_TOO_LARGE', kind: 'oversize' })
    const wrapped = new Error('of somebody else', { cause: run })
    expect([errorKind(wrapped), eventIdOf(wrapped)]).toEqual(['oversize', '7'])
    const ofAnotherCopy = { ...cause, message: 'x' }
    expect(errorKind(new RunError('handle', { consumer: 'c', cause: ofAnotherCopy }))).toBe('oversize')
  })

  test('is found of what an older copy made, and of what nobody knows', () => {
    const older = (retriable: boolean): Error => Object.assign(new Error('x'), { code: 'X', retriable })
    expect(errorKind(older(true))).toBe('retriable')
    expect(errorKind(older(false))).toBe('fatal')
    const round: { cause?: unknown; kind: string } = { kind: 'strange' }
    round.cause = round
    for (const unknown of [undefined, null, 'x', new Error('x'), round]) expect(errorKind(unknown)).toBe('retriable')
    expect(eventIdOf(round)).toBeUndefined()
  })
})

describe('supervise', () => {
  /** How long it waited after each of the first failures with errors of a kind; what it rejects with, if it does. */
  async function waits(kind: ErrorKind): Promise<readonly number[]> {
    const clock = simulatedClock()
    let attempts = 0
    const running = supervise(
      async () => {
        if (attempts++ === 3) return { reason: 'head' as const }
        throw new ReflexError('X', 'x', { kind })
      },
      { clock, random: () => 0.5 },
    )
    await clock.until(running)
    return clock.sleeps
  }

  test('tries a login or a permission again, but not often: an account may be locked for that', async () => {
    expect(await waits('auth')).toEqual([30_000, 30_000, 30_000])
  })

  test.each(['oversize', 'poison', 'quota', 'read-only', 'retriable'] as const)(
    'tries again what is mended while it waits, or passes by itself (%s)',
    async (kind) => {
      expect(await waits(kind)).toEqual([50, 100, 200])
    },
  )

  test('gives up at once what nothing but another start can mend', async () => {
    expect(await errorOf(waits('fatal'))).toMatchObject({ code: 'X' })
  })
})
