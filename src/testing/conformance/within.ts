import { setImmediate as turn } from 'node:timers/promises'

/** After the limit, what needs only the event loop may still end: a machine that stood still is no hang. */
const GRACE_TURNS = 50

/** Whether `promise` has settled within `ms`. Never rejects. */
export async function settlesWithin(promise: PromiseLike<unknown>, ms: number): Promise<boolean> {
  let settled = false
  const done = (): void => {
    settled = true
  }
  const settling = promise.then(done, done)
  // Most of what is waited for in memory has settled by then, and no timer is needed.
  for (let i = 0; i < 4 && !settled; i++) await Promise.resolve()
  if (settled) return true
  const timer = Promise.withResolvers<void>()
  const timeout = setTimeout(timer.resolve, ms)
  await Promise.race([settling, timer.promise])
  clearTimeout(timeout)
  for (let i = 0; i < GRACE_TURNS && !settled; i++) await turn()
  return settled
}

/** What became of a promise. */
export type Outcome<T> =
  | { readonly is: 'value'; readonly value: T }
  | { readonly is: 'error'; readonly error: unknown }
  | { readonly is: 'nothing' }

/** What becomes of `promise` within `ms`. Never rejects. */
export async function outcomeOf<T>(promise: PromiseLike<T>, ms: number): Promise<Outcome<T>> {
  let outcome: Outcome<T> = { is: 'nothing' }
  const settling = Promise.resolve(promise).then(
    (value) => {
      outcome = { is: 'value', value }
    },
    (error: unknown) => {
      outcome = { is: 'error', error }
    },
  )
  await settlesWithin(settling, ms)
  return outcome
}
