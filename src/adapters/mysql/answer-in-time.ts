import { ReflexError } from '../../core/errors.ts'

/** The server's silence that is an error, the wait for a free connection and for a lock included. */
const WITHIN_MS = 4000

/**
 * Runs `work` with a signal that aborts with `signal`, and after 4 s of its own: a dead or frozen server is noticed within 5 s
 * (rule 3).
 */
export async function answerInTime<T>(
  name: string,
  work: (ended: AbortSignal) => Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  signal?.throwIfAborted()
  const late = new AbortController()
  const timer = setTimeout(
    () =>
      late.abort(
        new ReflexError(
          'SERVER_UNRESPONSIVE',
          `${name}: no answer within ${WITHIN_MS} ms: the server is frozen or overloaded, no connection of the pool became free, or another transaction holds the row`,
        ),
      ),
    WITHIN_MS,
  )
  try {
    return await work(signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]))
  } finally {
    clearTimeout(timer)
  }
}
