import { CursorConflictError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import { type MemoryLog, memoryLog } from '../../core/memory-log.ts'
import { Violation } from '../conformance/violation.ts'
import { simulatedStart } from '../simulation/simulation.ts'
import type { Happening } from './run-command.ts'

/** An event, as the model knows it. */
export interface Entry {
  readonly type: number
  readonly timestamp: number
}

/** The log, the store, the clock, and what is known about the events: whatever outlives a process. */
export interface World {
  readonly log: MemoryLog
  /** By position: the first is 1. Positions that hold no event are undefined. */
  readonly entries: (Entry | undefined)[]
  /** Everything up to here has been trimmed. */
  base: number
  generation: number
  /** Handled, or settled, with success, by position. */
  readonly done: boolean[]
  /** Nobody has to handle it: skipped as asked, or jumped over by an operator. */
  readonly excused: boolean[]
  /** It was done, and may be once more. */
  readonly repeatable: boolean[]
  /** At which event the last run failed, if nothing but a restart followed. */
  failedAt: number | undefined
  stored: Cursor
  wasReset: boolean
  /** Every cursor that was ever stored; the first is `""`. */
  readonly cursors: Cursor[]
  /** What time it would be, had nobody set the clock. Epoch in ms. */
  elapsed(): number
  /** By how much the clock was set, in ms. */
  offset: number
  violation: Violation | undefined
  /** Two runners are at work. */
  crowded: boolean
  now(): number
  head(): number
  /** The first violation counts. Never throws: what is under test might swallow it. */
  violate(property: string, message: string): undefined
  /** Resolves with the first violation. */
  readonly violated: Promise<void>
  /** What takes effect after so many operations, whoever's. */
  later(operations: number, effect: () => void): void
  /** An operation begins, somewhere. */
  tick(): void
  /** Everything that is late takes effect. */
  flush(): void
  /** Compares and sets; throws a `CursorConflictError`. */
  set(cursor: Cursor, expected: Cursor): void
  happen(happening: Happening): string
  recreate(): void
  rewind(event: number): string
  /** After a crash, or a save that failed: what is not saved may be handled again. */
  mayRepeat(): void
}

/** The position in a saved cursor; -1 where there is none. */
export function positionOf(cursor: Cursor): number {
  return cursor === '' ? -1 : Number.parseInt(cursor, 10)
}

/** Makes an empty one. */
export function runWorld(): World {
  const log = memoryLog()
  const late: { left: number; readonly effect: () => void }[] = []
  const violated = Promise.withResolvers<void>()
  const events = (): number[] => {
    const found: number[] = []
    for (let p = world.base + 1; p <= world.head(); p++) if (world.entries[p] !== undefined) found.push(p)
    return found
  }
  const world: World = {
    log,
    entries: [undefined],
    base: 0,
    generation: 1,
    done: [],
    excused: [],
    repeatable: [],
    failedAt: undefined,
    stored: '',
    wasReset: false,
    cursors: [''],
    elapsed: () => simulatedStart,
    offset: 0,
    violation: undefined,
    crowded: false,
    now: () => world.elapsed() + world.offset,
    head: () => world.entries.length - 1,
    violate: (property, message) => {
      world.violation ??= new Violation(property, message)
      violated.resolve()
    },
    violated: violated.promise,
    later: (left, effect) => {
      late.push({ left, effect })
    },
    tick: () => {
      if (late.length === 0) return
      for (const each of late.splice(0)) {
        if (each.left-- <= 0) each.effect()
        else late.push(each)
      }
    },
    flush: () => {
      for (const each of late.splice(0)) each.effect()
    },
    set: (cursor, expected) => {
      const { stored: actual, wasReset: reset } = world
      if (actual !== expected && actual !== cursor)
        throw new CursorConflictError({ consumer: 'c', expected, actual, reset })
      world.stored = cursor
      world.wasReset = false
      if (!world.cursors.includes(cursor)) world.cursors.push(cursor)
    },
    happen: (happening) => {
      switch (happening.do) {
        case 'append': {
          const { count, type = 1, age = 0 } = happening
          const timestamp = world.now() - age
          for (let i = 0; i < count; i++) {
            log.append({ type, foreignId: 'x', timestamp })
            world.entries.push({ type, timestamp })
          }
          const events = count === 1 ? 'an event' : `${count} events`
          return `append ${events} of type ${type}${age === 0 ? '' : `, ${Math.abs(age)} ms ${age > 0 ? 'old' : 'in the future'}`}`
        }
        case 'skip':
          log.skip(happening.count)
          for (let i = 0; i < happening.count; i++) world.entries.push(undefined)
          return `append ${happening.count} positions that hold no event`
        case 'reset': {
          const cursor = world.cursors[happening.cursor % world.cursors.length] as Cursor
          // What an operator jumps over need not be handled.
          for (let p = Math.max(1, positionOf(world.stored) + 1); p <= positionOf(cursor); p++) world.excused[p] = true
          world.stored = cursor
          world.wasReset = true
          world.failedAt = undefined
          world.mayRepeat()
          return `an operator resets the cursor to ${JSON.stringify(cursor)}`
        }
        case 'trim': {
          const found = events()
          const event = found[happening.event % found.length]
          if (event === undefined) return 'nothing to trim'
          log.trim(String(event))
          for (let p = world.base + 1; p < event; p++) world.excused[p] = true
          world.base = event - 1
          world.failedAt = undefined
          return `trim the log: everything before event ${event} goes`
        }
        case 'jump':
          world.offset += happening.ms
          return `the clock is set ${Math.abs(happening.ms)} ms ${happening.ms < 0 ? 'back' : 'forward'}`
      }
    },
    recreate: () => {
      world.flush()
      log.recreate()
      world.generation++
      forget(0)
      world.base = 0
    },
    rewind: (index) => {
      world.flush()
      const found = events()
      const event = found[index % found.length]
      if (event === undefined) return 'nothing to rewind to'
      log.rewind(String(event))
      forget(event)
      return `restore the log from an older copy, which ends at event ${event}`
    },
    mayRepeat: () => {
      for (let p = Math.max(1, positionOf(world.stored) + 1); p <= world.head(); p++)
        if (world.done[p]) world.repeatable[p] = true
    },
  }
  function forget(after: number): void {
    world.entries.length = after + 1
    world.done.length = Math.min(world.done.length, after + 1)
    world.excused.length = Math.min(world.excused.length, after + 1)
    world.repeatable.length = Math.min(world.repeatable.length, after + 1)
    world.failedAt = undefined
    // A cursor beyond the end cannot be told from one that the log grew over since: what comes there is the log's fault.
    if (world.stored.endsWith(`@${world.generation}`))
      for (let p = after + 1; p <= positionOf(world.stored); p++) world.excused[p] = true
  }
  return world
}
