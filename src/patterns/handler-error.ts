import { codeOf, errorKind, isRetriable, messageOf, ReflexError } from '../core/errors.ts'

/**
 * What a handler threw, with the event at which it did: whoever fails a run from the background has to say so itself. The reason of
 * an abort stays what it is.
 */
export function handlerError(
  error: unknown,
  { what, eventId, signal }: { readonly what: string; readonly eventId: string; readonly signal: AbortSignal },
): unknown {
  if (signal.aborted && error === signal.reason) return error
  return new ReflexError(codeOf(error) ?? 'HANDLE_FAILED', `${what}: ${messageOf(error)}`, {
    cause: error,
    retriable: isRetriable(error),
    kind: errorKind(error),
    eventId,
  })
}
