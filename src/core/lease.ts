/** A lease that was granted. */
export interface Grant {
  /** Larger than that of every grant of this lease before it. */
  readonly token: bigint
}

/** Who has a lease now. */
export interface LeaseHolder {
  readonly holder: string
  /** In ms, by the store's clock: then it is free, unless it is renewed. */
  readonly expiresInMs: number
}

/**
 * Where leases are kept: of all that ask for one, one has it, for as long as it renews it.
 *
 * What an implementer promises:
 * - Time is that of the store alone: whatever the clocks of those who ask say, a lease expires `ttlMs` after the store has handled
 *   the last `acquire` or `renew` of it, and not earlier.
 * - Each call is atomic, and durable when it resolves. One that rejects may have had its effect, or have it later.
 * - Nothing is retried; a store that is dead or frozen is an error in under 5 s. A signal ends the waiting at once.
 *
 * Who holds one counts from when it has *sent* the last request that was granted, by a clock that nobody sets: that is earlier than
 * when the store has handled it, so it knows of the end before anybody else can have the lease. Still a process may be frozen
 * between looking at its clock and writing: what it writes to must fence it as well, by the token or by its own means.
 */
export interface Leases {
  /** Names the store in errors. */
  readonly name: string
  /** Who has it; undefined if it is free. */
  get(lease: string, options?: { signal?: AbortSignal | undefined }): Promise<LeaseHolder | undefined>
  /**
   * Takes the lease for `ttlMs` if it is free, or if `holder` itself has it: under the new token then, the one before is void.
   * Undefined if another one has it. `holder` is of this process alone, and of one of its attempts at a time.
   */
  acquire(
    lease: string,
    options: { readonly holder: string; readonly ttlMs: number; readonly signal?: AbortSignal | undefined },
  ): Promise<Grant | undefined>
  /** Extends it to `ttlMs` from now, if nobody has taken it since `token` was granted. Resolves with whether it did. */
  renew(
    lease: string,
    options: { readonly token: bigint; readonly ttlMs: number; readonly signal?: AbortSignal | undefined },
  ): Promise<boolean>
  /** Frees it at once if nobody has taken it since `token` was granted; else does nothing. */
  release(lease: string, options: { readonly token: bigint; readonly signal?: AbortSignal | undefined }): Promise<void>
}
