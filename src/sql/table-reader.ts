import type { DecodeError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'

/** A row that is no event. */
export interface UndecodableRow {
  readonly id: string
  readonly error: DecodeError
}

/** What stands in an event table. */
export type TableRow = Event | UndecodableRow

/** What purges have taken from an event table at most, as it was recorded before anything went. */
export interface Purged {
  /** Every row up to this id may be gone, this one included, which was there until then; no purge has taken any after it. */
  readonly to: bigint
  /** The row that followed, which stays until the next record. */
  readonly next: bigint
}

/** One connection's view of an event table. Every call reads in a snapshot of its own. */
export interface TableReader extends AsyncDisposable {
  /**
   * The first `limit` rows with `id >= from`, in the order of their ids. May end earlier where the payloads exceed
   * `maxBytes`, but not before the second row; and ends with a row after `from` that is no event.
   */
  page(from: bigint, limit: number, maxBytes: number): Promise<readonly TableRow[]>
  /** The newest id; 0 if there is no row. */
  newest(): Promise<bigint>
  /**
   * Resolves when every transaction is over that was open at the call and may have been given an id. What a *new* read
   * then does not find was rolled back. Returns at once where ids are given in the order of commits. Rejects when the
   * signal aborts that `connect` was given. `after` is the position of a stream, where one asks.
   */
  settleWriters(after?: bigint): Promise<void>
  /** What purges have taken; undefined if none has been recorded that this account may read. Asked only where a row is missing. */
  purged?(): Promise<Purged | undefined>
}
