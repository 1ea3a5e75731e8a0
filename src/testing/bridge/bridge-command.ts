import fc from 'fast-check'
import { arbitraryBody, type EventBody } from '../event-body.ts'

/** What a bridge asks of the parts of its route. */
export const operations = ['get', 'open sink', 'open source', 'read', 'append', 'save'] as const
/** One of them. */
export type Operation = (typeof operations)[number]

/**
 * What goes wrong with one operation. A crash ends the process, which from then on has no effect any more. `partial`: an error,
 * after the first half of a batch has been appended. `late`: an error, and it takes effect at some later time. `twice`: it takes
 * effect twice, as a request that the network repeats. `abort, no answer`: what opens or reads is never answered, and the process is
 * aborted; appends and saves are, since a bridge waits for them.
 */
export const faults = [
  'crash before',
  'crash after',
  'refused',
  'lost reply',
  'abort before',
  'abort after',
  'abort, no answer',
  'partial',
  'crash, late',
  'late',
  'twice',
] as const
/** One of them. */
export type Fault = (typeof faults)[number]

/** The kinds of error with which an operation is refused. */
export const errorKinds = ['retriable', 'fatal', 'auth', 'unknown'] as const
/** One of them. */
export type ErrorKind = (typeof errorKinds)[number]

/** One process that runs the bridge. */
export interface LifeCommand {
  readonly do: 'life'
  /** What goes wrong with the operation `at`, the one that follows `nth` others of its kind; a life without it has no fault. */
  readonly fault?: Fault | undefined
  readonly at?: Operation | undefined
  readonly nth?: number | undefined
  readonly error?: ErrorKind | undefined
  /** So many steps later, what comes late takes effect. */
  readonly later?: number | undefined
  /**
   * Default: it ends at the head, and the schedule waits. `abort`: it is aborted after `steps`. `beside`: it runs to the head, but
   * after `steps` the schedule goes on beside it; `beside, idle`: so it does, and it does not end at the head.
   */
  readonly ends?: 'abort' | 'beside' | 'beside, idle' | undefined
  readonly steps?: number | undefined
}

/** A step in the fate of a route. What is impossible where it stands does nothing. */
export type BridgeCommand =
  /** The source takes positions: a letter is an event of that entity, a dash is none. */
  | { readonly do: 'append'; readonly positions: string }
  /** One event of any kind. */
  | { readonly do: 'append body'; readonly body: EventBody }
  /** One of the events that the destination cannot hold. */
  | { readonly do: 'append unacceptable'; readonly which: number }
  | LifeCommand
  /** Only as the first command: how every process is started, and the most events in a batch. */
  | { readonly do: 'route'; readonly fromHead?: boolean | undefined; readonly batch?: number | undefined }
  /** Who goes next, wherever the parts are simulated: the decisions of `simulation`. */
  | { readonly do: 'interleave'; readonly decisions: readonly number[] }
  /** The oldest process that still runs is aborted. */
  | { readonly do: 'abort' }
  | { readonly do: 'lose tail'; readonly count: number }
  | { readonly do: 'wipe' }
  /** An operator puts an older checkpoint in place of the last one. */
  | { readonly do: 'reset checkpoint'; readonly back: number }
  | { readonly do: 'lose checkpoint' }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'jump'; readonly ms: number }
  /** The destination accepts nothing, and does again. */
  | { readonly do: 'refuse' | 'accept' }
  /** The source forgets what precedes an event that it had. */
  | { readonly do: 'trim'; readonly event: number }
  | { readonly do: 'restart' | 'freeze' | 'cut' }

const named = <D extends string>(name: D): fc.Arbitrary<D> => fc.constant(name)
const steps = (max: number): fc.Arbitrary<number> => fc.nat({ max })
const positions = (letters: readonly string[], maxLength: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...letters), minLength: 1, maxLength })

/** Bodies whose first header has two values. */
const repeatedHeader = arbitraryBody.map((body) => ({
  ...body,
  headers: [...body.headers, ...body.headers.slice(0, 1).map(([name]) => [name, 'again'] as const)],
}))

/** A process asks for some things once only, as far as a schedule can know. */
const moments = (at: readonly Operation[]): fc.Arbitrary<{ readonly at: Operation; readonly nth: number }> =>
  fc.constantFrom(
    ...at.flatMap((operation) => {
      const times = operation === 'get' || operation.startsWith('open') ? 1 : 4
      return Array.from({ length: times }, (_, nth) => ({ at: operation, nth }))
    }),
  )

/** A process with one of `some` faults at one of the operations `at`. */
export function faultyLife(
  some: readonly Fault[],
  at: readonly Operation[] = operations,
  ends: fc.Arbitrary<LifeCommand['ends']> = fc.constant(undefined),
): fc.Arbitrary<LifeCommand> {
  return fc
    .tuple(
      moments(at),
      fc.constantFrom(...some),
      fc.constantFrom(...errorKinds),
      fc.nat({ max: 6 }),
      ends,
      fc.nat({ max: 25 }),
    )
    .map(([moment, fault, error, later, end, steps]) => ({
      ...{ do: 'life', fault, ...moment },
      ...(fault === 'refused' || fault === 'lost reply' || fault === 'late' || fault === 'partial' ? { error } : {}),
      ...(fault === 'late' || fault === 'crash, late' ? { later } : {}),
      ...(end === undefined ? {} : { ends: end, steps }),
    }))
}

/** The kinds of command that schedules are made of. */
export type CommandKind =
  | 'append'
  | 'appendWithGaps'
  | 'appendBody'
  | 'appendUnacceptable'
  | 'life'
  | 'faulty'
  | 'aborted'
  | 'beside'
  | 'faultyBeside'
  | 'route'
  | 'routeFromHead'
  | 'interleave'
  | 'abort'
  | 'loseTail'
  | 'wipe'
  | 'resetCheckpoint'
  | 'loseCheckpoint'
  | 'pass'
  | 'jump'
  | 'refuse'
  | 'accept'
  | 'trim'
  | 'restart'
  | 'freeze'
  | 'cut'

/** Each kind of command. */
export const bridgeCommands: Readonly<Record<CommandKind, fc.Arbitrary<BridgeCommand>>> = {
  append: fc.record({ do: named('append'), positions: positions(['a', 'b', 'c'], 12) }),
  appendWithGaps: fc.record({ do: named('append'), positions: positions(['a', 'b', '-'], 8) }),
  appendBody: fc.record({ do: named('append body'), body: fc.oneof(arbitraryBody, repeatedHeader) }),
  appendUnacceptable: fc.record({ do: named('append unacceptable'), which: fc.nat({ max: 3 }) }),
  life: fc.constant({ do: 'life' }),
  faulty: faultyLife(faults),
  aborted: fc.record({ do: named('life'), ends: named('abort'), steps: steps(40) }),
  beside: fc.record({ do: named('life'), ends: fc.constantFrom('beside', 'beside, idle'), steps: steps(25) }),
  faultyBeside: faultyLife(faults, operations, fc.constantFrom('beside', 'beside, idle', 'abort')),
  route: fc.record({ do: named('route'), batch: fc.integer({ min: 1, max: 4 }) }),
  routeFromHead: fc.record({ do: named('route'), fromHead: fc.constant(true), batch: fc.integer({ min: 1, max: 4 }) }),
  interleave: fc.record({
    do: named('interleave'),
    decisions: fc.array(fc.nat({ max: 5 }), { minLength: 1, maxLength: 30 }),
  }),
  abort: fc.constant({ do: 'abort' }),
  loseTail: fc.record({ do: named('lose tail'), count: fc.integer({ min: 1, max: 8 }) }),
  wipe: fc.constant({ do: 'wipe' }),
  resetCheckpoint: fc.record({ do: named('reset checkpoint'), back: fc.nat({ max: 5 }) }),
  loseCheckpoint: fc.constant({ do: 'lose checkpoint' }),
  pass: fc.record({ do: named('pass'), ms: fc.constantFrom(2000, 10_000) }),
  jump: fc.record({ do: named('jump'), ms: fc.constantFrom(3_600_000, -3_600_000) }),
  refuse: fc.constant({ do: 'refuse' }),
  accept: fc.constant({ do: 'accept' }),
  trim: fc.record({ do: named('trim'), event: fc.nat({ max: 12 }) }),
  restart: fc.constant({ do: 'restart' }),
  freeze: fc.constant({ do: 'freeze' }),
  cut: fc.constant({ do: 'cut' }),
}
