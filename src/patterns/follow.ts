import { untilAborted } from '../core/abort.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { OptionError, ReflexError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { Observer } from '../core/observer.ts'
import { oldestUnread } from '../core/oldest-unread.ts'
import type { Source } from '../core/stream.ts'

/** A run, or a supervised one, that can be waited for. */
export interface Followed<T> {
  /**
   * What was started: settles as it does. A failure of which nobody learns when it comes, neither by a wait that it ends nor by this promise,
   * is an unhandled rejection, on which Node ends the process unless told otherwise: a run never fails in silence. So attach to it at once. Where
   * a wait has told of the failure it may be read at any time later, and rejects then.
   */
  readonly ended: Promise<T>
  /**
   * Resolves once the stored cursor is at or past what is the head of the source at this call; at once where the log is empty. Rejects as the run does,
   * with `RUN_ENDED` if it ends before, and with the signal's reason; where the source does not answer, 5 s after the end of the run at the latest.
   */
  whenCaughtUp(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>
  /** Resolves once the stored cursor is at or past this event, which is then handled or skipped. Rejects as `whenCaughtUp`. */
  whenProcessed(eventId: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<void>
}

/** Options of `follow`. */
export interface FollowOptions {
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
}

/** A source that has not answered by then does not answer (rule 3). */
const ANSWER_WITHIN_MS = 5000

/**
 * Starts a run that others can wait for, with an observer that it must be given. A restart of a supervised run is no end.
 * Needs a source that can tell its head and compare cursors.
 *
 * @example
 * const mailer = follow(source, (observer) => supervise((o) => run(spec, o), { signal, observer }))
 * await mailer.whenCaughtUp()
 */
export function follow<T>(
  source: Pick<Source, 'name' | 'stream' | 'head' | 'compare'>,
  start: (observer: Observer) => Promise<T>,
  { clock = systemClock }: FollowOptions = {},
): Followed<T> {
  const { compare, head } = source
  if (compare === undefined || head === undefined)
    throw new OptionError(
      `${source.name} cannot tell ${head ? 'which of two cursors is the later' : 'its head'}: it cannot be followed`,
    )
  let reached: Cursor = ''
  let over: { readonly error: unknown; readonly isFailure: boolean } | undefined
  /** Each looks whether it is at its end, and says whether it has told of the error of the run. */
  const waiting = new Set<() => boolean>()
  const settleAll = (): boolean => [...waiting].filter((settle) => settle()).length > 0
  const moved = (cursor: Cursor): void => {
    reached = cursor
    settleAll()
  }

  const running = start({ opened: ({ cursor }) => moved(cursor), saved: moved })
  const ended = running.then((result) => result)
  running.then(
    () => {
      const message = `the run over ${source.name} has ended at ${JSON.stringify(reached)}, before what was waited for`
      over = { error: new ReflexError('RUN_ENDED', message), isFailure: false }
      settleAll()
    },
    (error: unknown) => {
      over = { error, isFailure: true }
      if (settleAll()) ended.catch(() => {})
    },
  )

  async function until(target: Cursor, signal: AbortSignal | undefined): Promise<void> {
    const isReached = (): boolean =>
      target === '' || (reached !== '' && (source.compare?.(reached, target) as number) >= 0)
    const arrival = Promise.withResolvers<void>()
    const settle = (): boolean => {
      if (signal?.aborted) return false
      try {
        if (isReached()) arrival.resolve()
        else if (over !== undefined) {
          arrival.reject(over.error)
          return true
        }
      } catch (error) {
        arrival.reject(error) // it is no cursor of this log
      }
      return false
    }
    waiting.add(settle)
    settle()
    try {
      await untilAborted(arrival.promise, signal)
    } finally {
      waiting.delete(settle)
    }
  }

  /**
   * Asks the source something. A wait that was begun before rejects with the failure of the run at once; else, when the run is over, the
   * source has as long to answer as any has, since a slow one answers yet.
   */
  async function ask<Answer>(
    question: (signal: AbortSignal) => Promise<Answer>,
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    const isLater = over !== undefined
    const [answered, given] = [new AbortController(), new AbortController()]
    const ending = signal === undefined ? given.signal : AbortSignal.any([signal, given.signal])
    const settle = (): boolean => {
      if (over === undefined || signal?.aborted) return false
      waiting.delete(settle)
      const { error, isFailure } = over
      if (isFailure && !isLater) given.abort(error)
      else
        clock.sleep(ANSWER_WITHIN_MS, answered.signal).then(
          () => given.abort(error),
          () => {},
        )
      return given.signal.aborted
    }
    waiting.add(settle)
    settle()
    const answer = (async () => question(ending))() // a source may throw at once
    const done = (): void => {
      waiting.delete(settle)
      answered.abort('answered') // a reason without a stack: nobody sees it
    }
    answer.then(done, done)
    try {
      return await untilAborted(answer, ending)
    } finally {
      done()
    }
  }

  return {
    ended,
    whenProcessed: (eventId, { signal } = {}) => until(eventId, signal),
    whenCaughtUp: async ({ signal } = {}) => {
      const target = await ask((o) => head.call(source, { signal: o }), signal)
      // Of a log that is empty, no cursor is ever stored.
      if (reached === '' && (await ask((o) => oldestUnread(source, '', { signal: o }), signal)) === undefined) return
      await until(target, signal)
    },
  }
}
