import { untilAborted } from './abort.ts'
import { codeOf, ReflexError } from './errors.ts'
import type { Event } from './event.ts'

/**
 * A log that anybody may append single events to, beside others who do so too: what `publisher` of `reflex-bridge/pubsub` publishes
 * through. Where one writer forwards a whole log, take a `Sink`: that one is fenced, and sends nothing twice.
 */
export interface Appender {
  /** Names the log in errors. */
  readonly name: string
  /** What of the options the log can honour; the others are refused before it is asked. */
  readonly honours: readonly AppendWish[]
  /**
   * Appends one event and resolves with where it stands. What the log refuses has not been appended; whether it was, if that cannot be
   * known, is an `OutcomeUnknownError`. Nothing is tried again, and each append has an answer within 10 s. An abort before anything was
   * sent rejects with the signal's reason.
   */
  append(event: Event, options: AppendOptions): Promise<Appended>
}

/** A wish that not every log can honour. */
export type AppendWish = 'idempotencyKey' | 'expectedLastId' | 'expectedLastIdOfSubject'

/** Options of `append`. The event's `id` is the one that its source gives it, and travels in a header. */
export interface AppendOptions {
  /** Who appends; travels as the event's source. */
  readonly source: string
  /** What the log was given under this key before, within its window, is not appended again. */
  readonly idempotencyKey?: string | undefined
  /** Append only if the newest entry of the log is this one; `0` or `0-0`, as the log counts, if there was none. */
  readonly expectedLastId?: string | undefined
  /** The same of the newest entry with the event's subject. */
  readonly expectedLastIdOfSubject?: string | undefined
  readonly signal?: AbortSignal | undefined
}

/** Where an event stands. */
export interface Appended {
  /** Its position in the log. */
  readonly id: string
  /** Of the log, if it has several, each with positions of its own. */
  readonly partition?: number
  /** It was there already, under the same idempotency key: `id` is that one's. */
  readonly duplicate: boolean
}

/** Whether the event was appended cannot be known: the answer did not come, or was not waited for. */
export class OutcomeUnknownError extends ReflexError {
  override readonly name = 'OutcomeUnknownError'
  constructor(log: string, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause)
    super(
      'OUTCOME_UNKNOWN',
      `${log}: expected an answer to what was sent, but found none: ${why}. The event may have been appended or not: publish it again under the same idempotency key, or look for it in the log`,
      { cause, retriable: true },
    )
  }
}

/** The newest entry is another one than was expected: nothing was appended. */
export class WrongLastIdError extends ReflexError {
  override readonly name = 'WrongLastIdError'
  readonly expected: string
  /** The newest entry, where the log tells. */
  readonly found: string | undefined

  constructor(log: string, { expected, found, cause }: { expected: string; found?: string; cause?: unknown }) {
    super(
      'WRONG_LAST_ID',
      `${log}: expected ${expected} as the newest entry, but found ${found ?? 'another one'}: nothing was appended. Read what has been appended since, decide anew, and publish with the id of that`,
      { cause, retriable: false },
    )
    this.expected = expected
    this.found = found
  }
}

/**
 * Does the work of one append: `send` is to be called just before something leaves. What goes wrong after that has an unknown outcome,
 * unless `refused` says of the error that it is the log's own answer. The wait for it ends with the signal.
 */
export async function withKnownOutcome<T>(
  log: string,
  { signal, refused }: { readonly signal: AbortSignal | undefined; readonly refused: (code: string) => boolean },
  work: (send: () => void) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted()
  let sent = false
  const working = work(() => {
    signal?.throwIfAborted()
    sent = true
  })
  try {
    return await untilAborted(working, signal)
  } catch (error) {
    working.catch(() => {}) // told to nobody any more
    const code = codeOf(error)
    if (!sent || (code !== undefined && refused(code))) throw error
    throw new OutcomeUnknownError(log, error)
  }
}
