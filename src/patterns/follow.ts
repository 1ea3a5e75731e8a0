import { untilAborted } from '../core/abort.ts'
import { OptionError, ReflexError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { Observer } from '../core/observer.ts'
import { oldestUnread } from '../core/oldest-unread.ts'
import type { Source } from '../core/stream.ts'

/** A run, or a supervised one, that can be waited for. */
export interface Followed<T> {
  /** What was started: settles as it does. */
  readonly ended: Promise<T>
  /**
   * Resolves once the stored cursor is at or past what is the head of the source at this call; at once where the log is empty. Rejects as the run does,
   * with `RUN_ENDED` if it ends before, and with the signal's reason.
   */
  whenCaughtUp(options?: { readonly signal?: AbortSignal | undefined }): Promise<void>
  /** Resolves once the stored cursor is at or past this event, which is then handled or skipped. Rejects as `whenCaughtUp`. */
  whenProcessed(eventId: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<void>
}

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
): Followed<T> {
  const { compare, head } = source
  if (compare === undefined || head === undefined)
    throw new OptionError(
      `${source.name} cannot tell ${head ? 'which of two cursors is the later' : 'its head'}: it cannot be followed`,
    )
  let reached: Cursor = ''
  let over: { readonly error: unknown } | undefined
  const waiting = new Set<{ settle(): void }>()
  const moved = (cursor: Cursor): void => {
    reached = cursor
    for (const each of waiting) each.settle()
  }

  const ended = start({ opened: ({ cursor }) => moved(cursor), saved: moved })
  const end = (error: unknown): void => {
    over = { error }
    for (const each of waiting) each.settle()
  }
  ended.then(
    () =>
      end(
        new ReflexError(
          'RUN_ENDED',
          `the run over ${source.name} has ended at ${JSON.stringify(reached)}, before what was waited for`,
        ),
      ),
    end,
  )

  async function until(target: Cursor, signal: AbortSignal | undefined): Promise<void> {
    const isReached = (): boolean =>
      target === '' || (reached !== '' && (source.compare?.(reached, target) as number) >= 0)
    const arrival = Promise.withResolvers<void>()
    const waiter = {
      settle: () => {
        try {
          if (isReached()) arrival.resolve()
          else if (over !== undefined) arrival.reject(over.error)
        } catch (error) {
          arrival.reject(error) // it is no cursor of this log
        }
      },
    }
    waiting.add(waiter)
    waiter.settle()
    try {
      await untilAborted(arrival.promise, signal)
    } finally {
      waiting.delete(waiter)
    }
  }

  return {
    ended,
    whenProcessed: (eventId, { signal } = {}) => until(eventId, signal),
    whenCaughtUp: async ({ signal } = {}) => {
      const target = await untilAborted(head.call(source, { signal }), signal)
      // Of a log that is empty, no cursor is ever stored.
      if (reached === '' && (await oldestUnread(source, '', { signal })) === undefined) return
      await until(target, signal)
    },
  }
}
