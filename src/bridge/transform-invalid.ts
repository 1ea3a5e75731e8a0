import { ReflexError } from '../core/errors.ts'

/**
 * The error `TRANSFORM_INVALID` for what a function has returned on the event `id`; `rule` says what it must return. A promise is let
 * go: it may reject, and nobody awaits it.
 */
export function transformInvalid(id: string, rule: string, returned: unknown): ReflexError {
  const isThenable = typeof (returned as PromiseLike<unknown> | null | undefined)?.then === 'function'
  if (isThenable) Promise.resolve(returned).catch(() => {})
  const kind = returned === null ? 'null' : typeof returned
  const found = isThenable ? 'a promise, which nobody awaits' : kind === 'object' ? 'another object' : kind
  return new ReflexError('TRANSFORM_INVALID', `event ${id}: ${rule}, but returned ${found}`, {
    retriable: false,
    eventId: id,
  })
}
