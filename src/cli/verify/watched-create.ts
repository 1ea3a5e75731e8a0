import { setImmediate as turn } from 'node:timers/promises'
import { codeOf, messageOf, OptionError, ReflexError } from '../../core/errors.ts'
import type { Subject } from '../../testing/conformance/property.ts'
import type { Kind } from '../../testing/conformance/suites.ts'
import { outcomeOf } from '../../testing/conformance/within.ts'

/** Options of `watchedCreate`. */
export interface WatchOptions {
  readonly of: Kind
  /** In ms: what takes longer has hung. */
  readonly patienceMs: number
  /** Called before each schedule. */
  onSchedule(): void
  /** Called when a subject cannot be disposed of, which no property is about. */
  onStuck(message: string): void
}

/** What `create` of each kind must return at least. */
const required: Readonly<Record<Kind, readonly string[]>> = {
  source: ['source', 'append'],
  cursors: ['cursors'],
  sink: ['sink', 'read'],
  run: [],
  bridge: ['source', 'append', 'sink', 'read', 'checkpoints'],
}

/** `create` of a module, such that neither it nor the end of what it returns is waited for for ever. */
export function watchedCreate(
  create: () => unknown,
  { of, patienceMs, onSchedule, onStuck }: WatchOptions,
): () => Promise<Subject> {
  const watched = new WeakSet<object>()
  return async () => {
    await turn() // whatever the last schedule left undone, or unhandled, shows now
    onSchedule()
    const outcome = await outcomeOf((async () => create())(), patienceMs)
    if (outcome.is === 'nothing')
      throw new ReflexError('CREATE_FAILED', `create() has not returned a subject within ${inWords(patienceMs)}`)
    if (outcome.is === 'error')
      throw new ReflexError(codeOf(outcome.error) ?? 'CREATE_FAILED', `create() failed: ${messageOf(outcome.error)}`, {
        cause: outcome.error,
      })
    const subject = checked(outcome.value, of)
    const dispose = subject[Symbol.asyncDispose]
    if (dispose === undefined || watched.has(subject) || !Object.isExtensible(subject)) return subject
    watched.add(subject)
    Object.defineProperty(subject, Symbol.asyncDispose, {
      configurable: true,
      value: async (): Promise<void> => {
        const end = await outcomeOf((async () => dispose.call(subject))(), patienceMs)
        if (end.is === 'nothing')
          onStuck(`[Symbol.asyncDispose]() of the subject has not ended within ${inWords(patienceMs)}`)
        if (end.is === 'error') onStuck(`[Symbol.asyncDispose]() of the subject failed: ${messageOf(end.error)}`)
      },
    })
    return subject
  }
}

function checked(value: unknown, of: Kind): Subject {
  const members = required[of].length === 0 ? '' : ` with ${required[of].join(' and ')}`
  if (typeof value !== 'object' || value === null)
    throw new OptionError(
      `create() of a ${of} must return an object${members}, but it returned ${value === null ? 'null' : typeof value}`,
    )
  const missing = required[of].filter((name) => (value as Readonly<Record<string, unknown>>)[name] === undefined)
  if (missing.length === 0) return value
  const names = Object.keys(value)
  throw new OptionError(
    `create() of a ${of} must return an object${members}, but ${missing.join(' and ')} ${missing.length === 1 ? 'is' : 'are'} missing: ` +
      `${names.length === 0 ? 'it has no members' : `it has ${names.join(', ')}`}; is it a ${of}? If not, say so with --of or export const of`,
  )
}

function inWords(ms: number): string {
  return `${ms.toLocaleString('en')} ms`
}
