import type { Clock } from '../../core/clock.ts'
import type { RunStage } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { Simulation } from '../simulation/simulation.ts'
import type { Fault, LifePlan, Operation } from './run-command.ts'
import type { Entry, World } from './run-world.ts'

/** Something that was thrown at the run. */
export interface Thrown {
  readonly error: unknown
  readonly on: Operation
  readonly stage: RunStage
  readonly eventId: string | undefined
  readonly afterAbort: boolean
  /** `recover` has to be asked first. */
  readonly recoverable?: boolean
}

/** A batch that was handed out. */
export interface Delivered {
  /** The position after it. */
  readonly to: number
  readonly at: number
}

/** One process, while it lasts: what it was given and what it did. */
export interface Life {
  readonly world: World
  readonly sim: Simulation
  readonly plan: LifePlan
  readonly controller: AbortController
  readonly clock: Clock
  readonly counts: Partial<Record<Operation, number>>
  operations: number
  dead: boolean
  /** Resolves when the process has crashed. */
  readonly died: PromiseWithResolvers<void>
  /** What was under test has settled. */
  settled: boolean
  aborted: boolean
  abortedAt: number
  onAbort: (() => void) | undefined
  /** At the next operation. */
  abortsNext: boolean
  readonly thrown: Thrown[]
  /** An error after which nothing may be handled any more. */
  over: string | undefined
  started: 'no' | 'begun' | 'yes' | 'failed'
  stops: number
  stopped: boolean
  fail: ((error: unknown) => void) | undefined
  /** What the store answered; undefined before that. */
  got: Cursor | undefined
  /** What this process may expect to be stored: what it has read, or written last. */
  known: Cursor
  /** A save of which nobody knows the outcome. */
  unknown: Cursor | undefined
  conflict: boolean
  saveFailed: boolean
  saving: number
  saved: number
  /** How many saves it was told of through the observer. */
  toldSaves: number
  saves: number
  opens: number
  closes: number
  pinHead: boolean
  /** The position that was the head when the stream was opened. */
  head: number
  streamEnded: 'no' | 'head' | 'cut' | 'broken'
  reading: boolean
  readonly batches: Delivered[]
  /** The batch whose events are handled now. */
  batch: number
  /** The position from which it has to handle; undefined until it is known. */
  start: number | undefined
  /** The last event that was given to the handler. */
  offered: number
  /** Everything wanted up to here is done by this process. */
  doneTo: number
  handling: number
  /** At work in the background. */
  readonly outstanding: number[]
  settledTo: Cursor
  unsavedSince: number | undefined
  lastDoneAt: number
  yieldedAt: number
  sleeping: number
  sleptMs: number
  /** How often the clock was set, in the world, when this life began. */
  readonly offsetAtStart: number
}

/** Fails when a process that has crashed is still unwinding. */
export const crash: Error = new Error('the process has crashed')
/** What a crashed process waits for. */
export function never(): Promise<never> {
  return new Promise(() => {})
}

/** Whether the consumer of this plan is to be given the event. */
export function isWanted({ types, filter }: LifePlan, { type }: Entry, position: number): boolean {
  return (types === undefined || types.includes(type)) && (filter !== true || position % 2 === 0)
}

/** The position of the first event after `position` that is wanted; undefined if there is none up to `end`. */
export function nextWanted({ world, plan }: Life, position: number, end: number = world.head()): number | undefined {
  for (let p = Math.max(position, 0) + 1; p <= end; p++) {
    const entry = world.entries[p]
    if (entry !== undefined && isWanted(plan, entry, p)) return p
  }
}

/** Begins one. */
export function newLife(
  world: World,
  sim: Simulation,
  plan: LifePlan,
  controller: AbortController = new AbortController(),
): Life {
  const life: Life = {
    world,
    sim,
    plan,
    controller,
    clock: {
      now: () => sim.clock.now() + world.offset,
      sleep: async (ms, signal) => {
        if (life.dead) return never()
        const waits = life.unsavedSince !== undefined && life.plan.handling !== 'background'
        if (waits && life.stops === 0 && !life.settled) {
          const old = elapsed(life) + ms - (life.unsavedSince as number)
          if (old > 1010 && ms <= (plan.delayMs ?? 0))
            world.violate(
              'L18',
              `expected what is handled to be saved within 1,000 ms, but the run waits for ${ms} ms, and event ${life.doneTo} is not saved`,
            )
        }
        life.sleeping++
        try {
          await sim.clock.sleep(ms, signal)
          life.sleptMs += ms
        } finally {
          life.sleeping--
          life.yieldedAt = elapsed(life)
        }
        if (life.dead) return never()
        if (life.stops === 0) settleOne(life)
        if (life.dead) return never()
      },
      yield: async () => {
        life.yieldedAt = elapsed(life)
      },
    },
    counts: {},
    operations: 0,
    dead: false,
    died: Promise.withResolvers(),
    settled: false,
    aborted: controller.signal.aborted,
    abortedAt: 0,
    onAbort: undefined,
    abortsNext: false,
    thrown: [],
    over: undefined,
    started: 'no',
    stops: 0,
    stopped: false,
    fail: undefined,
    got: undefined,
    known: '',
    unknown: undefined,
    conflict: false,
    saveFailed: false,
    saving: 0,
    saved: -1,
    toldSaves: 0,
    saves: 0,
    opens: 0,
    closes: 0,
    pinHead: false,
    head: 0,
    streamEnded: 'no',
    reading: false,
    batches: [],
    batch: 0,
    start: undefined,
    offered: 0,
    doneTo: 0,
    handling: 0,
    outstanding: [],
    settledTo: '',
    unsavedSince: undefined,
    lastDoneAt: 0,
    yieldedAt: 0,
    sleeping: 0,
    sleptMs: 0,
    offsetAtStart: world.offset,
  }
  life.yieldedAt = elapsed(life)
  return life
}

/** How much time has passed since the schedule began, however the clock was set. */
export function elapsed({ sim }: Life): number {
  return sim.clock.now()
}

/** The process is gone. */
export function die(life: Life): void {
  life.dead = true
  life.died.resolve()
}

/** Aborts the signal of the process. */
export function abort(life: Life): void {
  if (life.settled || life.dead) return
  life.aborted = true
  life.abortedAt = elapsed(life)
  life.controller.abort(new Error('aborted by the schedule'))
  life.onAbort?.()
}

/** An operation begins: what is due in the world happens, and the fault that hits this one is returned. */
export function begin(life: Life, on: Operation): Fault | undefined {
  const { world, plan } = life
  const nth = life.counts[on] ?? 0
  life.counts[on] = nth + 1
  world.tick()
  if (life.abortsNext && on !== 'filter') abort(life) // an event that is filtered at this moment is given to the handler
  if (plan.meanwhile?.at === life.operations++) world.happen(plan.meanwhile.what)
  const settles = on === 'handle' || on === 'set' || on === 'read'
  if (settles && life.outstanding.length > 0 && life.stops === 0 && life.operations % 2 === 0) settleOne(life)
  const { fault } = plan
  if (fault === undefined || fault.on !== on || fault.nth !== nth) return undefined
  const { how } = fault
  if (how === 'crash before' || (how === 'crash, late' && on !== 'set')) die(life)
  else if (how === 'abort before' || how === 'abort, refused' || how === 'abort, hangs') abort(life)
  else if (how === 'refused, then abort') life.abortsNext = true
  return how
}

/** What a fault does when the operation has had its effect. */
export function end(life: Life, how: Fault | undefined): void {
  if (how === 'crash after') die(life)
  else if (how === 'abort after') abort(life)
}

/** Whether the operation fails, before its effect (`refused`) or after it. */
export function failure(how: Fault | undefined): 'refused' | 'after' | undefined {
  if (
    how === 'refused' ||
    how === 'abort, refused' ||
    how === 'refused, then abort' ||
    how === 'late' ||
    how === 'ends'
  )
    return 'refused'
  return how === 'lost reply' ? 'after' : undefined
}

/** Writes down an error, which is then thrown. */
export function note(
  life: Life,
  on: Operation,
  error: unknown,
  more: { eventId?: string; recoverable?: boolean } = {},
): unknown {
  const stage = stages[on]
  if (!(life.aborted && error === life.controller.signal.reason)) {
    const { eventId, recoverable = false } = more
    life.thrown.push({ error, on, stage, eventId, afterAbort: life.aborted, recoverable })
    if (!recoverable && on !== 'read') life.over ??= `${on} had failed`
  }
  return error
}

const stages: Readonly<Record<Operation, RunStage>> = {
  start: 'start',
  get: 'cursor',
  open: 'open',
  read: 'receive',
  close: 'receive',
  set: 'commit',
  handle: 'handle',
  filter: 'handle',
  stop: 'handle',
  background: 'handle',
}

/** An event is handled, or settled. */
export function markDone(life: Life, position: number): void {
  const { world } = life
  world.done[position] = true
  world.repeatable[position] = world.crowded
  life.doneTo = position
  life.lastDoneAt = elapsed(life)
  life.unsavedSince ??= life.lastDoneAt
}

/** The oldest of what is at work in the background is over, with success or not. */
export function settleOne(life: Life): void {
  const next = life.outstanding[0]
  if (next === undefined || life.dead || life.counts.background === Number.POSITIVE_INFINITY) return
  const how = begin(life, 'background')
  if (life.dead) return

  if (failure(how) !== undefined) {
    life.counts.background = Number.POSITIVE_INFINITY // nothing more settles
    life.fail?.(note(life, 'background', new Error(`event ${next} failed in the background`)))
    return
  }
  life.outstanding.shift()
  life.settledTo = String(next)
  markDone(life, next)
  end(life, how)
}
