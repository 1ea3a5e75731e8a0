/** Where `run` was when it failed. */
export type RunStage = 'start' | 'cursor' | 'open' | 'receive' | 'handle' | 'commit'

/**
 * What an error is, for whoever decides what to do about it.
 * - `retriable`: passes by itself, as a lost connection does
 * - `fatal`: nothing but a change of the program, its options or its cursor helps
 * - `poison`: the one event, `eventId`, can never be sent, whatever its destination is like; nothing is wrong with the others
 * - `auth`: the login or a permission is missing, until somebody grants it
 * - `quota`: a limit of room or rate is reached, until somebody frees some or raises it
 * - `read-only`: the server takes no writes for now: it is a replica, or its disk fails
 * - `oversize`: the event, `eventId`, is larger than the destination's limit, which can be raised
 * - `fenced`: another runner has taken over
 */
export type ErrorKind = (typeof errorKinds)[number]

const errorKinds = ['retriable', 'fatal', 'poison', 'auth', 'quota', 'read-only', 'oversize', 'fenced'] as const

/** An attempt that is made soon again may do. */
const passing: ReadonlySet<ErrorKind> = new Set(['retriable', 'quota', 'read-only', 'fenced'])

/** Options of every error of this package. */
export interface ReflexErrorOptions {
  readonly cause?: unknown
  /** Whether trying again, unchanged, can succeed. Default: as `kind` says; true for `retriable`, `quota`, `read-only` and `fenced`. */
  readonly retriable?: boolean
  /** Default: `retriable` or `fatal`, as `retriable` says. */
  readonly kind?: ErrorKind
  /** The one event that it is about. */
  readonly eventId?: string | undefined
}

/**
 * The base of every error of this package. Branch on `code`, not on the class: a code survives wrapping, gRPC and two
 * copies of the package. The message says what was expected, what was found and what to do.
 */
export class ReflexError extends Error {
  override readonly name: string = 'ReflexError'
  readonly code: string
  readonly retriable: boolean
  readonly kind: ErrorKind
  /** The one event that it is about; undefined where it is about none, or several. */
  readonly eventId: string | undefined

  constructor(code: string, message: string, options: ReflexErrorOptions = {}) {
    const { cause, kind = options.retriable === false ? 'fatal' : 'retriable', eventId } = options
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.retriable = options.retriable ?? passing.has(kind)
    this.kind = kind
    this.eventId = eventId
  }
}

/** An option that is wrong, or that this adapter cannot honour (rule 12: refused, never ignored). */
export class OptionError extends ReflexError {
  override readonly name = 'OptionError'
  constructor(message: string, cause?: unknown) {
    super('OPTION_INVALID', message, { cause, retriable: false })
  }
}

/** Entries after the cursor are gone from the log: resuming would skip them. */
export class CursorTrimmedError extends ReflexError {
  override readonly name = 'CursorTrimmedError'
  readonly cursor: string
  /** The earliest position that is still there, where the log can tell. */
  readonly earliest: string | undefined

  constructor(log: string, { cursor, earliest, cause }: { cursor: string; earliest?: string; cause?: unknown }) {
    const still =
      earliest === undefined ? 'nothing that follows it is provably complete' : `the earliest is ${earliest}`
    super(
      'CURSOR_TRIMMED',
      `${log}: the cursor ${cursor} points at entries that have been removed (${still}). Events after it may be lost to this consumer: ` +
        'recover them from the source, then reset the cursor to a position that is still there, or to "" for the earliest.',
      { cause, retriable: false },
    )
    this.cursor = cursor
    this.earliest = earliest
  }
}

/** The cursor lies beyond the log's end, or belongs to an earlier log of the same name. */
export class CursorAheadError extends ReflexError {
  override readonly name = 'CursorAheadError'
  readonly cursor: string
  readonly reason: 'beyond' | 'recreated'

  constructor(
    log: string,
    {
      cursor,
      reason,
      found,
      cause,
    }: { cursor: string; reason: 'beyond' | 'recreated'; found: string; cause?: unknown },
  ) {
    super(
      'CURSOR_AHEAD',
      reason === 'recreated'
        ? `${log}: the cursor ${cursor} was saved for an earlier log of this name; the one there now is ${found}. ` +
            'If the log was recreated on purpose, reset the cursor to "".'
        : `${log}: the cursor ${cursor} lies beyond the end of the log, which is ${found}. The log was recreated or restored from an ` +
            'older copy: check what it lost, then reset the cursor to a position that is there.',
      { cause, retriable: false },
    )
    this.cursor = cursor
    this.reason = reason
  }
}

/** The cursor is not one of this log: malformed, or of another adapter. */
export class CursorInvalidError extends ReflexError {
  override readonly name = 'CursorInvalidError'
  readonly cursor: string

  constructor(log: string, { cursor, expected, cause }: { cursor: string; expected: string; cause?: unknown }) {
    super(
      'CURSOR_INVALID',
      `${log}: ${JSON.stringify(cursor)} is not a cursor of this log: expected ${expected}, or "" for the earliest. ` +
        'Was it saved by another adapter, or under another consumer name?',
      { cause, retriable: false },
    )
    this.cursor = cursor
  }
}

/** The stored cursor is not what this runner last saw: another runner or an operator wrote it. */
export class CursorConflictError extends ReflexError {
  override readonly name = 'CursorConflictError'
  readonly consumer: string
  readonly expected: string
  readonly actual: string
  /** True if an operator's `reset` wrote the stored cursor: the runner starts again from there. */
  readonly reset: boolean

  constructor(o: { consumer: string; expected: string; actual: string; reset: boolean; cause?: unknown }) {
    super(
      'CURSOR_CONFLICT',
      `the cursor of ${JSON.stringify(o.consumer)} was expected to be ${JSON.stringify(o.expected)}, but is ${JSON.stringify(o.actual)}: ` +
        (o.reset
          ? 'it was reset while this runner was at work, which starts again from there.'
          : 'another runner of this name is at work. Stop one of them, or give each its own name.'),
      { cause: o.cause, kind: o.reset ? 'retriable' : 'fenced' },
    )
    this.consumer = o.consumer
    this.expected = o.expected
    this.actual = o.actual
    this.reset = o.reset
  }
}

/** Another writer has taken this route over: nothing more may be appended by this one. */
export class FencedError extends ReflexError {
  override readonly name = 'FencedError'
  constructor(message: string, cause?: unknown) {
    super('FENCED', message, { cause, kind: 'fenced' })
  }
}

/** An entry of the log is not an event that can be read. */
export class DecodeError extends ReflexError {
  override readonly name = 'DecodeError'
  /** The entry's position in the log. */
  readonly position: string

  constructor(log: string, { position, cause }: { position: string; cause: unknown }) {
    super(
      'EVENT_UNDECODABLE',
      `${log}: the entry at ${position} cannot be read as an event: ${messageOf(cause)}. ` +
        'Give the source a decode option that understands it; it is not skipped, since that would lose it.',
      { cause, retriable: false },
    )
    this.position = position
  }
}

/** The stream ended without having been asked to (no `toHead`): the connection or the server has gone. */
export class StreamEndedError extends ReflexError {
  override readonly name = 'StreamEndedError'
  constructor() {
    super(
      'STREAM_ENDED',
      'the stream ended although it was not opened with toHead: the server or the connection has gone; start again',
    )
  }
}

/** What `run` rejects with: the failure, where it happened and at which event. */
export class RunError extends ReflexError {
  override readonly name = 'RunError'
  readonly stage: RunStage
  readonly consumer: string

  /** `eventId`: the event at which it failed; undefined where no single one was at hand. */
  constructor(
    stage: RunStage,
    { consumer, eventId, cause }: { consumer: string; eventId?: string | undefined; cause: unknown },
  ) {
    const at = eventId === undefined ? '' : ` at event ${eventId}`
    super(
      codeOf(cause) ?? `${stage.toUpperCase()}_FAILED`,
      `consumer ${JSON.stringify(consumer)} failed in stage ${stage}${at}: ${messageOf(cause)}`,
      { cause, retriable: isRetriable(cause), kind: errorKind(cause), eventId },
    )
    this.stage = stage
    this.consumer = consumer
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** The `code` of a ReflexError from any copy of this package; undefined for every other value. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  const { code, retriable } = error as { code?: unknown; retriable?: unknown }
  return typeof code === 'string' && typeof retriable === 'boolean' ? code : undefined
}

/** Whether trying again can help. What is not known to be final is worth another try. */
export function isRetriable(error: unknown): boolean {
  return codeOf(error) === undefined || (error as ReflexError).retriable
}

/**
 * What kind of an error it is: the kind of the first error that has one, of this one and of what caused it. A `ReflexError` of
 * an older copy of this package has none, and is `retriable` or `fatal`; so is what is not known at all: `retriable`.
 */
export function errorKind(error: unknown): ErrorKind {
  for (const each of chain(error)) {
    const { kind } = each as { kind?: unknown }
    if (errorKinds.some((known) => known === kind)) return kind as ErrorKind
    if (codeOf(each) !== undefined) return isRetriable(each) ? 'retriable' : 'fatal'
  }
  return 'retriable'
}

/** The one event that an error, or what caused it, is about; undefined if that is not known. */
export function eventIdOf(error: unknown): string | undefined {
  for (const each of chain(error)) {
    const { eventId } = each as { eventId?: unknown }
    if (typeof eventId === 'string') return eventId
  }
  return undefined
}

/** An error, what caused it, and so on; no more than anybody wraps, since causes may go round in a circle. */
function chain(error: unknown): object[] {
  const errors: object[] = []
  for (let e = error; typeof e === 'object' && e !== null && errors.length < 20; e = (e as { cause?: unknown }).cause)
    errors.push(e)
  return errors
}
