/** What `insert` has done, once the transaction is committed. */
export interface Inserted {
  /** In the order of the events. */
  readonly ids: readonly string[]
  /** Call it after the commit: the streams that wait at the head go on at once, and not within 250 ms. */
  readonly wake: () => void
}
