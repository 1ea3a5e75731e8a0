import fc from 'fast-check'
import type { Property } from '../conformance/property.ts'
import {
  type BridgeCommand,
  bridgeCommands,
  type CommandKind,
  type Fault,
  faultyLife,
  type Operation,
} from './bridge-command.ts'
import type { BridgeSubject } from './bridge-subject.ts'

const MOST_COMMANDS = 10

/** What a schedule is made of: kinds of commands and their weights, processes with faults of their own, and what it may begin with. */
interface Recipe extends Readonly<Partial<Record<CommandKind, number>>> {
  readonly lives?: readonly (readonly [weight: number, life: fc.Arbitrary<BridgeCommand>])[]
  readonly first?: CommandKind | readonly CommandKind[]
}

/** Schedules of some kinds of command; half of them begin with `first`. */
function schedules({ lives = [], first, ...kinds }: Recipe): fc.Arbitrary<readonly BridgeCommand[]> {
  // What comes first is what any command is tried to be replaced by: the simplest, a process that nothing happens to.
  const commands = Object.entries({ life: 1, ...kinds }).map(([kind, weight]) => ({
    arbitrary: bridgeCommands[kind as CommandKind],
    weight,
  }))
  const faulty = lives.map(([weight, arbitrary]) => ({ arbitrary, weight }))
  const command = fc.oneof({ withCrossShrink: true }, ...commands, ...faulty)
  const rest = fc.array(command, { minLength: 1, maxLength: MOST_COMMANDS, size: 'max' })
  if (first === undefined) return rest
  const firsts = [first].flat().map((kind) => bridgeCommands[kind])
  const begun = fc.tuple(fc.oneof(...firsts), rest).map(([one, more]) => [one, ...more])
  return fc.oneof(rest, begun)
}

const crashes: readonly Fault[] = ['crash before', 'crash after', 'crash, late']
const unknown: readonly Fault[] = ['crash after', 'lost reply', 'partial', 'crash, late', 'late', 'twice']
const errors: readonly Fault[] = ['refused', 'lost reply', 'late']
const aborts: readonly Fault[] = ['abort before', 'abort after', 'abort, no answer']
const writes: readonly Operation[] = ['append', 'save']

const everything = schedules({
  ...{
    append: 6,
    appendWithGaps: 4,
    life: 3,
    faulty: 4,
    aborted: 2,
    beside: 3,
    faultyBeside: 4,
    abort: 1,
    pass: 2,
    jump: 1,
  },
  ...{ loseTail: 2, wipe: 1, resetCheckpoint: 1, loseCheckpoint: 1, refuse: 1, accept: 1, interleave: 2 },
  first: 'route',
})

/** What is expected of a bridge and of the parts of its route together. Not every id of the table is here: what a source, a sink and a store must do alone their own suites tell. */
export const bridgeProperties: readonly Property<BridgeSubject, BridgeCommand>[] = [
  {
    id: 'B1',
    grade: 'required',
    title:
      'every event of the source is in the destination, wherever a bridge was killed; no checkpoint is ever ahead of it',
    why: 'A consumer never hears of an order that was placed, and nothing says so.',
    schedules: fc.oneof(
      schedules({ append: 3, life: 1, lives: [[4, faultyLife(crashes)]], aborted: 1, jump: 1, first: 'route' }),
      everything,
    ),
  },
  {
    id: 'B2',
    grade: 'required',
    title: 'nothing is in the destination that the source does not hold: positions without an event leave no trace',
    why: 'Consumers act on a change that was rolled back.',
    schedules: schedules({ appendWithGaps: 3, life: 2, faulty: 3, first: 'route' }),
  },
  {
    id: 'B3',
    grade: 'required',
    title: 'the destination has the order of the source, through every failure and restart',
    why: 'A consumer sees an order paid before it was placed, and the older state wins.',
    schedules: schedules({
      append: 4,
      life: 2,
      lives: [[3, faultyLife([...errors, ...crashes], writes)]],
      loseCheckpoint: 1,
      first: 'route',
    }),
  },
  {
    id: 'B4',
    grade: 'untested',
    title: 'a transaction that commits late is forwarded, though later ids were forwarded before',
    why: 'The event of a slow transaction is passed over for ever.',
  },
  {
    id: 'B5',
    grade: 'required',
    title: 'a crash, or an append of unknown outcome, leaves no event in the log of the destination twice',
    why: 'A customer is charged twice.',
    option: 'effectively-once',
    schedules: schedules({ append: 3, life: 2, lives: [[5, faultyLife(unknown)]], first: 'route' }),
  },
  {
    id: 'B6',
    grade: 'required',
    title:
      'the first error ends the bridge with a RunError that names its stage, its code and whether to try again; nothing follows it',
    why: 'A bridge that goes on after an error forwards the rest without what failed.',
    schedules: schedules({ append: 3, life: 1, lives: [[5, faultyLife(errors)]], first: 'route' }),
  },
  {
    id: 'B7',
    grade: 'required',
    title: 'an append that failed, or of which only a part took effect, leaves no hole',
    why: 'A batch is half there, and its rest is never sent.',
    schedules: schedules({
      ...{ append: 3, life: 2 },
      lives: [[5, faultyLife(['refused', 'partial', 'lost reply', 'late', 'crash, late'], ['append'])]],
      first: 'route',
    }),
  },
  {
    id: 'B8',
    grade: 'required',
    title:
      'two bridges of one route at once lose nothing, repeat nothing and change no order: one of them is fenced off',
    why: 'A deployment that overlaps, or a process that was thought dead, corrupts the log.',
    schedules: schedules({
      append: 3,
      beside: 4,
      faultyBeside: 3,
      life: 2,
      interleave: 2,
      abort: 1,
      pass: 1,
      first: 'route',
    }),
  },
  {
    id: 'B9',
    grade: 'capability',
    title: 'a tail that the destination lost is appended again, in order, and the observer is told',
    why: 'A broker that is restored from a copy lacks a few seconds, which nobody misses until somebody audits.',
    needs: ['loseTail'],
    schedules: schedules({
      ...{ append: 4, loseTail: 4, life: 2, beside: 4, pass: 3, faulty: 1, loseCheckpoint: 1 },
      first: ['route', 'routeFromHead'],
    }),
  },
  {
    id: 'B10',
    grade: 'untested',
    title:
      'an event that is put aside is in the dead letters before the checkpoint passes it (a bridge that is given none puts nothing aside)',
    why: 'An event is neither forwarded nor put aside.',
  },
  {
    id: 'B11',
    grade: 'untested',
    title: 'a purge of the source never takes an event that has not been forwarded (the bridge does not purge)',
    why: 'The clean-up of an outbox outruns its relay.',
  },
  {
    id: 'B12',
    grade: 'capability',
    title:
      'an event that the destination cannot hold stops the bridge with an error that has a code and is final; it is not passed over',
    why: 'What is too large is dropped with a line in a log.',
    needs: ['unacceptable'],
    schedules: schedules({ append: 3, appendUnacceptable: 2, life: 3, faulty: 1, first: 'route' }),
  },
  {
    id: 'B13',
    grade: 'untested',
    title: 'memory is bounded while the destination is slow: at most one batch is read ahead',
    why: 'A destination that is slow for an hour ends the bridge for want of memory.',
  },
  {
    id: 'B14',
    grade: 'required',
    title: 'an aborted bridge resolves as aborted; what it appended is saved, and nothing is appended after the abort',
    why: 'A deployment sends duplicates, or a stopped bridge goes on writing.',
    schedules: schedules({
      append: 3,
      aborted: 3,
      lives: [[3, faultyLife(aborts)]],
      beside: 2,
      abort: 2,
      pass: 1,
      first: 'route',
    }),
  },
  {
    id: 'B15',
    grade: 'required',
    title: 'an event arrives as it was appended, but for its id; the name of the source and its id there are headers',
    why: 'A null payload becomes an empty one, or a timestamp loses its microseconds, and consumers disagree with the source.',
    schedules: schedules({ appendBody: 3, append: 2, life: 1, faulty: 1 }),
  },
  {
    id: 'B16',
    grade: 'capability',
    title: 'a destination that lost everything gets everything again, from where the route started',
    why: 'A stream that was deleted by mistake comes back empty, and stays so.',
    needs: ['wipe'],
    schedules: schedules({
      append: 3,
      wipe: 3,
      life: 2,
      beside: 2,
      faulty: 1,
      pass: 1,
      first: ['route', 'routeFromHead'],
    }),
  },
  {
    id: 'B17',
    grade: 'required',
    title:
      'a checkpoint that was reset to an older one, or lost, repeats nothing in the log, and the reset is not overwritten',
    why: 'Restoring the database that holds the checkpoint sends last week again.',
    option: 'effectively-once',
    schedules: schedules({
      append: 3,
      life: 3,
      resetCheckpoint: 3,
      loseCheckpoint: 1,
      beside: 2,
      faulty: 1,
      pass: 1,
      first: 'route',
    }),
  },
  {
    id: 'B18',
    grade: 'required',
    title:
      'a route that starts at the head does so once: the position is saved before anything is appended, and never moves',
    why: 'What is written between the first start and the first event is lost by a restart.',
    schedules: fc
      .tuple(
        bridgeCommands.routeFromHead,
        fc.oneof(fc.constant([]), fc.tuple(bridgeCommands.append, bridgeCommands.life)),
        schedules({ append: 4, life: 4, faulty: 3, aborted: 1, beside: 1, loseTail: 1, wipe: 2 }),
      )
      .map(([first, before, rest]) => [first, ...before, ...rest]),
  },
  {
    id: 'B19',
    grade: 'capability',
    title: 'positions without an event move the checkpoint',
    why: 'The checkpoint of a quiet route falls off the log, and cannot be resumed from.',
    needs: ['skip'],
    schedules: schedules({ appendWithGaps: 3, life: 3, faulty: 1, aborted: 1, loseTail: 1, first: 'route' }),
  },
  {
    id: 'B20',
    grade: 'capability',
    title: 'what the source has forgotten and the destination lacks is an error, never a jump',
    why: 'Retention outran the bridge, and the hole is passed over in silence.',
    needs: ['trim'],
    schedules: schedules({ append: 4, life: 3, trim: 2, faulty: 2, beside: 1 }),
  },
  {
    id: 'B21',
    grade: 'capability',
    title:
      'while the destination refuses every append, the bridge fails and its checkpoint stays; then it goes on from there',
    why: 'A full or read-only broker drains the outbox into nowhere.',
    needs: ['refuse'],
    schedules: schedules({ append: 3, refuse: 2, life: 3, accept: 1, beside: 1, aborted: 1, first: 'route' }),
  },
  ...(['restart', 'freeze', 'cut'] as const).map(
    (fault, i): Property<BridgeSubject, BridgeCommand> => ({
      id: `B${22 + i}`,
      grade: 'capability',
      title: `a destination that ${{ restart: 'is killed and started again', freeze: 'stands still for a while', cut: 'loses its connections' }[fault]} has everything afterwards, once and in order`,
      why: 'Every broker is restarted one day.',
      needs: [fault],
      schedules: schedules({ append: 3, [fault]: 2, life: 2, beside: 3, first: 'route' }),
    }),
  ),
  {
    id: 'B25',
    grade: 'stochastic',
    title: 'a bridge that waits for events notices within 5 s that its destination has lost some',
    why: 'What was lost is purged from the source before the next event comes.',
    needs: ['loseTail', 'simulated'],
    schedules: fc
      .tuple(
        schedules({ append: 3, life: 1 }),
        bridgeCommands.beside,
        fc.oneof(bridgeCommands.loseTail, bridgeCommands.wipe),
        schedules({ pass: 2, loseTail: 1, append: 1 }),
      )
      .map(([before, beside, loss, after]) => [...before, beside, loss, ...after]),
  },
  {
    id: 'Y1',
    grade: 'required',
    title:
      'the source and the sink that a bridge opened are closed once on every path, and no listener is left on its signal',
    why: 'Each restart leaves a connection behind, until the broker refuses more.',
    schedules: schedules({ append: 2, faulty: 4, aborted: 3, life: 1, first: 'route' }),
  },
]
