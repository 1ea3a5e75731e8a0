/** Where `run` was when it failed. */
export type RunStage = 'start' | 'cursor' | 'open' | 'receive' | 'handle' | 'commit'

/** Options of every error of this package. */
export interface ReflexErrorOptions {
  readonly cause?: unknown
  /** Whether trying again, unchanged, can succeed. Default: true. */
  readonly retriable?: boolean
}

/**
 * The base of every error of this package. Branch on `code`, not on the class: a code survives wrapping, gRPC and two
 * copies of the package. The message says what was expected, what was found and what to do.
 */
export class ReflexError extends Error {
  override readonly name: string = 'ReflexError'
  readonly code: string
  readonly retriable: boolean

  constructor(code: string, message: string, { cause, retriable = true }: ReflexErrorOptions = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    this.retriable = retriable
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
      { cause: o.cause },
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
    super('FENCED', message, { cause })
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
  /** The event at which it failed; undefined where no single event was at hand. */
  readonly eventId: string | undefined

  constructor(
    stage: RunStage,
    { consumer, eventId, cause }: { consumer: string; eventId?: string | undefined; cause: unknown },
  ) {
    const at = eventId === undefined ? '' : ` at event ${eventId}`
    super(
      codeOf(cause) ?? `${stage.toUpperCase()}_FAILED`,
      `consumer ${JSON.stringify(consumer)} failed in stage ${stage}${at}: ${messageOf(cause)}`,
      { cause, retriable: isRetriable(cause) },
    )
    this.stage = stage
    this.consumer = consumer
    this.eventId = eventId
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
