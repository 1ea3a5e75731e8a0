/** How many leases a process has: who has many leaves the next one to others for longer. */
export interface LeaseShare {
  /** How long a lease that is free is left to others, in ms. */
  patienceMs(): number
  /** One more is held, or about to be, until it is disposed of. */
  hold(): Disposable
}

/**
 * Counts the leases of a process. Each that it has makes it wait `stepMs` longer before it takes another one (default 250): so
 * processes that start together end up with about as many each, and of those that are there the one with the fewest takes over.
 */
export function leaseShare({ stepMs = 250 }: { readonly stepMs?: number } = {}): LeaseShare {
  let held = 0
  return {
    patienceMs: () => held * stepMs,
    hold: () => {
      held++
      let disposed = false
      return {
        [Symbol.dispose]: () => {
          if (!disposed) held--
          disposed = true
        },
      }
    },
  }
}
