/** A notification of a state change. */
export interface Event {
  /** The position of this event in its stream: Kafka offset, JetStream sequence, Redis entry id, row id. Usable as a cursor. */
  readonly id: string
  /** What happened; a signed 32-bit integer. */
  readonly type: number
  /** The entity it is about, and the ordering key. */
  readonly foreignId: string
  /** When it happened: epoch in ms, the fraction being µs (exact until the year 2109). */
  readonly timestamp: number
  /** The payload. `null`, empty and absent are told apart where the broker can. */
  readonly metadata: Uint8Array | null
  /** Names are as the broker gave them; a name that stands more than once has an array, and no other does: an array of one comes back as a string. */
  readonly headers: Headers
}

/** The headers of an event. */
export type Headers = Readonly<Record<string, string | readonly string[]>>

/** An event that has not been given a position yet. */
export type NewEvent = Pick<Event, 'type' | 'foreignId'> & Partial<Omit<Event, 'id' | 'type' | 'foreignId'>>

/**
 * A position in a stream, opaque to everyone but its adapter. `""` is the earliest there is; resuming is exclusive:
 * Kafka's `"0"` means *after* offset 0. A saved cursor is `position` or `position@incarnation`.
 */
export type Cursor = string

/** What was at hand, in log order. */
export interface Batch {
  /** May be empty: the position moves on over filtered, compacted, rolled-back and control records. */
  readonly events: readonly Event[]
  /** The position after the last of them, and after everything that was passed over. */
  readonly cursor: Cursor
}
