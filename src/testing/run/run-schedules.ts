import fc from 'fast-check'
import type { Fault, Happening, LifePlan, Operation, RunCommand, ScriptedAttempt } from './run-command.ts'

/** The arbitraries of a life's members; those that are left out are the simplest. */
type LifeMembers = { readonly [K in keyof LifePlan]?: fc.Arbitrary<LifePlan[K]> }

const faults: readonly Fault[] = [
  'refused',
  'crash before',
  'crash after',
  'lost reply',
  'late',
  'abort before',
  'abort after',
  'abort, refused',
  'crash, late',
]

/** One operation of these kinds is hit by one of these. */
export function faultOf(
  on: readonly Operation[],
  how: readonly Fault[] = faults,
): fc.Arbitrary<NonNullable<LifePlan['fault']>> {
  return fc.record({
    on: fc.constantFrom(...on),
    nth: fc.nat({ max: 4 }),
    how: fc.constantFrom(...how),
    after: how.includes('late') ? fc.constantFrom(undefined, 1, 3, 6, 10) : fc.constant(undefined),
  })
}

/** An append, of events that a consumer may want or not. */
export const append: fc.Arbitrary<Extract<Happening, { readonly do: 'append' }>> = fc.record({
  do: fc.constant('append'),
  count: fc.integer({ min: 1, max: 6 }),
  type: fc.constantFrom(undefined, undefined, 2),
})
export const appendOne: fc.Arbitrary<Happening> = fc.constant<Happening>({ do: 'append', count: 1 })
export const appendAged: fc.Arbitrary<Happening> = fc.record({
  do: fc.constant('append'),
  count: fc.integer({ min: 1, max: 4 }),
  age: fc.constantFrom(0, 400, 3_000, 60_000, -2_000, -3_600_000),
})
export const appendMany: fc.Arbitrary<Happening> = fc.record({
  do: fc.constant('append'),
  count: fc.integer({ min: 6, max: 16 }),
})
/** For quick handlers. */
export const appendLots: fc.Arbitrary<Happening> = fc.record({
  do: fc.constant('append'),
  count: fc.integer({ min: 60, max: 120 }),
})
export const skip: fc.Arbitrary<Happening> = fc.record({
  do: fc.constant('skip'),
  count: fc.integer({ min: 1, max: 4 }),
})
export const reset: fc.Arbitrary<Happening> = fc.record({ do: fc.constant('reset'), cursor: fc.nat({ max: 5 }) })
export const trim: fc.Arbitrary<Happening> = fc.record({ do: fc.constant('trim'), event: fc.nat({ max: 6 }) })
export const jump: fc.Arbitrary<Happening> = fc.record({
  do: fc.constant('jump'),
  ms: fc.constantFrom(-3_600_000, 3_600_000, -86_400_000),
})
export const rewind: fc.Arbitrary<RunCommand> = fc.record({ do: fc.constant('rewind'), event: fc.nat({ max: 6 }) })
export const recreate: fc.Arbitrary<RunCommand> = fc.constant<RunCommand>({ do: 'recreate' })

/** Something that happens while somebody is at work, or nothing. */
export const meanwhileOf = (...what: readonly fc.Arbitrary<Happening>[]): fc.Arbitrary<LifePlan['meanwhile']> =>
  fc.option(fc.record({ at: fc.nat({ max: 12 }), what: fc.oneof(...what) }), { nil: undefined, freq: 2 })

const order = fc.option(fc.array(fc.nat({ max: 2 }), { maxLength: 10 }), { nil: undefined, freq: 1 })

/** Members of a life. */
export const members: Required<
  Pick<LifeMembers, 'endless' | 'batch' | 'handling' | 'types' | 'filter' | 'hooks' | 'recover' | 'fromHead'>
> = {
  endless: fc.constantFrom(undefined, true),
  batch: fc.constantFrom(undefined, 1, 2, 8),
  handling: fc.constantFrom(undefined, 'asynchronous', 'background'),
  types: fc.constantFrom<LifePlan['types'][]>(undefined, [1], [2]),
  filter: fc.constantFrom(undefined, true),
  hooks: fc.constantFrom(undefined, true),
  recover: fc.constantFrom(undefined, 'swallows', 'throws'),
  fromHead: fc.constantFrom(undefined, true),
}
/** Nothing in the background. */
export const awaited: fc.Arbitrary<LifePlan['handling']> = fc.constantFrom(undefined, 'asynchronous')

/** A life with these members. */
export function lifeOf(of: LifeMembers): fc.Arbitrary<LifePlan> {
  return fc.record(of as Record<string, fc.Arbitrary<unknown>>) as fc.Arbitrary<LifePlan>
}

/** One process. */
export function runOf(life: LifeMembers): fc.Arbitrary<RunCommand> {
  return fc.record({ do: fc.constant('run'), life: lifeOf(life), order })
}

/** Two at the same time. */
export function bothOf(life: LifeMembers): fc.Arbitrary<RunCommand> {
  return fc.record({
    do: fc.constant('run both'),
    life: lifeOf(life),
    rival: lifeOf(life),
    order: fc.array(fc.nat({ max: 3 }), { maxLength: 16 }),
  })
}

/** A supervised run. */
export function supervisedOf(life: LifeMembers): fc.Arbitrary<RunCommand> {
  return fc.record({
    do: fc.constant('supervise run'),
    lives: fc.array(lifeOf(life), { minLength: 1, maxLength: 4 }),
    random: fc.constantFrom(0, 0.5, 0.999),
    order,
  })
}

/** A supervisor whose attempts end in these ways. */
export function scriptedOf(
  ends: readonly ScriptedAttempt['ends'][],
  {
    maxLength = 5,
    abortAfterMs = fc.constant(undefined),
    graceMs = fc.constant(undefined),
    deaf = fc.constant(undefined),
  }: {
    maxLength?: number
    abortAfterMs?: fc.Arbitrary<number | undefined>
    graceMs?: fc.Arbitrary<number | undefined>
    deaf?: fc.Arbitrary<boolean | undefined>
  } = {},
): fc.Arbitrary<RunCommand> {
  return fc.record({
    do: fc.constant('supervise'),
    attempts: fc.array(
      fc.record({
        ends: fc.constantFrom(...ends),
        progress: fc.constantFrom(undefined, true),
        ms: fc.constantFrom(undefined, 30, 70_000),
        deaf,
      }),
      { minLength: 1, maxLength },
    ),
    random: fc.constantFrom(0, 0.5, 0.999),
    abortAfterMs,
    graceMs,
  })
}

/** A schedule: something to handle, and then any of these. */
export function scheduleOf(
  maxLength: number,
  ...commands: readonly (fc.Arbitrary<RunCommand> | { weight: number; arbitrary: fc.Arbitrary<RunCommand> })[]
): fc.Arbitrary<readonly RunCommand[]> {
  return fc.array(fc.oneof({ withCrossShrink: false }, ...commands), { minLength: 1, maxLength })
}
