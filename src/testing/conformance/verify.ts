import fc from 'fast-check'
import { OptionError } from '../../core/errors.ts'
import { checkProperty, type PropertyResult } from './check-property.ts'
import { playSchedule } from './play-schedule.ts'
import type { Command, Subject } from './property.ts'
import { selectProperties } from './select-properties.ts'
import { type Kind, type Subjects, suiteOf } from './suites.ts'
import { parseToken, type Replay } from './token.ts'

/** What is verified, and how thoroughly. */
export interface VerifyOptions<K extends Kind = 'source'> {
  /** What is under test. Default: `source`. */
  readonly of?: K | undefined
  /** Makes a fresh subject; called once per schedule. */
  create(): PromiseLike<Subjects[K]> | Subjects[K]
  /** The most schedules per property. Default: 100. */
  readonly runs?: number | undefined
  /** A 32-bit integer; the same seed plays the same schedules. Default: another one each time. */
  readonly seed?: number | undefined
  /** Only the properties with these ids. Default: all. */
  readonly only?: readonly string[] | undefined
  /** Per property: no schedule is begun after this, nor a failure shrunk any further. In ms, default 10,000. */
  readonly timeLimitMs?: number | undefined
  /** What takes longer than this hangs; rule 3 gives 5 s. In ms, default 5,000. Less is of use in memory, where nothing takes time. */
  readonly limitMs?: number | undefined
  /** Ends it: the properties that are left are not in the report. */
  readonly signal?: AbortSignal | undefined
  /** Called before each property, and with its result after it. */
  onProperty?(property: { readonly id: string; readonly title: string; readonly result?: PropertyResult }): void
}

/** What was found. */
export interface Report {
  readonly of: Kind
  readonly seed: number
  readonly properties: readonly PropertyResult[]
  readonly schedules: number
  readonly elapsedMs: number
}

/**
 * Holds a subject against every property of its suite.
 * Throws an `OptionError` on an unknown id or kind, and whatever `create` throws.
 *
 * @example const report = await verify({ create: () => ({ source, append }) })
 */
export async function verify<K extends Kind = 'source'>(options: VerifyOptions<K>): Promise<Report> {
  const { of = 'source', create, only, signal, onProperty } = options
  const checked = checkOptions(options)
  const suite = suiteOf(of)
  checkCreate(create)
  const startedAt = performance.now()
  const results: PropertyResult[] = []
  for (const property of selectProperties(of, only)) {
    const { id, title } = property
    if (signal?.aborted) break
    onProperty?.({ id, title })
    const result = await checkProperty(suite, property, create as () => Subject, checked)
    results.push(result)
    onProperty?.({ id, title, result })
  }
  return {
    of,
    seed: checked.seed,
    properties: results,
    schedules: results.reduce((sum, { schedules }) => sum + schedules, 0),
    elapsedMs: performance.now() - startedAt,
  }
}

/** Throws an `OptionError` where there is nothing to create. */
export function checkCreate(create: unknown): void {
  if (typeof create !== 'function')
    throw new OptionError(`create must be a function that makes what is under test, but is ${String(create)}`)
}

/** Throws an `OptionError` on a command that no property of the suite makes: a schedule that does nothing would pass for ever. */
function checkSchedule(kind: string, schedule: readonly Command[]): void {
  const known = new Set<string>()
  for (const { schedules } of suiteOf(kind).properties)
    if (schedules !== undefined)
      for (const sample of fc.sample(schedules, { numRuns: SAMPLES, seed: 1 }))
        for (const each of sample) known.add(each.do)
  const unknown = schedule.find((command) => !known.has(command.do))
  if (unknown === undefined) return
  throw new OptionError(
    `there is no command ${JSON.stringify(unknown.do)} in the suite "${kind}": expected some of ${[...known].sort().join(', ')}`,
  )
}

/** So many schedules of each property have every command in them. */
const SAMPLES = 100

/** The options of `checkProperty`, with their defaults. Throws an `OptionError` on one that is wrong. */
export function checkOptions({
  runs = 100,
  seed = Math.trunc(Math.random() * 2 ** 32) | 0,
  timeLimitMs = 10_000,
  limitMs = 5000,
  signal,
}: Pick<VerifyOptions, 'runs' | 'seed' | 'timeLimitMs' | 'limitMs' | 'signal'>): Parameters<typeof checkProperty>[3] {
  for (const [name, value] of Object.entries({ runs, timeLimitMs, limitMs })) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new OptionError(`${name} must be a whole number from 1 on, but is ${String(value)}`)
  }
  if (seed !== (seed | 0)) throw new OptionError(`seed must be a 32-bit integer, but is ${String(seed)}`)
  return { runs, seed, timeLimitMs, limitMs, signal }
}

/** What is played again: a schedule as a failure prints it, or its token. */
export interface ReplayOptions<K extends Kind = 'source'> extends Pick<VerifyOptions<K>, 'of' | 'create' | 'limitMs'> {
  readonly schedule: readonly (Command & Readonly<Record<string, unknown>>)[] | string
}

/**
 * Plays one schedule on a fresh subject, and resolves with its steps in words; rejects with the `Violation` if it breaks a property.
 *
 * @example test('S12', () => replay({ create, schedule: [{ do: 'append', count: 2, type: 1 }] }))
 */
export async function replay<K extends Kind = 'source'>(options: ReplayOptions<K>): Promise<readonly string[]> {
  const { create, schedule, limitMs } = options
  const given: Pick<Replay, 'of' | 'schedule'> =
    typeof schedule === 'string' ? parseToken(schedule) : { of: options.of ?? 'source', schedule }
  if (options.of !== undefined && options.of !== given.of)
    throw new OptionError(`the token is of a ${given.of}, but a ${options.of} is to be played`)
  checkCreate(create)
  checkSchedule(given.of, given.schedule)
  const { limitMs: patience } = checkOptions({ limitMs })
  const played = await playSchedule(suiteOf(given.of), create as () => Subject, given.schedule, { limitMs: patience })
  if (played.error !== undefined) throw played.error
  return played.lines
}
