import type { Event } from '../core/event.ts'

/** An event that a route has gone past without sending it. */
export interface RouteLetter {
  readonly id: string
  /** Its id in the source. */
  readonly eventId: string
  /** As the source has it; undefined if whoever recorded it kept no more than the id. */
  readonly event: Event | undefined
  /** Why it was not sent. */
  readonly message: string
  /** How often it was recorded, or tried again in vain. */
  readonly attempts: number
  /** Epoch in ms. */
  readonly createdAt: number
}

/**
 * Where a route puts events that can never be sent, under its name: `mysqlDeadLetters` and `sqliteDeadLetters` are some.
 *
 * An implementer promises: what `record` has resolved for is durable; an event is recorded once, however often it is tried: there
 * is one letter of a route and an event's id, which is opened again if it was resolved.
 */
export interface DeadLetters {
  record(route: string, error: unknown, event: Event, options?: { readonly signal?: AbortSignal }): Promise<void>
  /** A page of the letters of a route that are open, or resolved, in the order in which they were recorded; those after the letter `after`. */
  list(options: {
    readonly consumer: string
    /** Default: `open`. */
    readonly status?: 'open' | 'resolved' | undefined
    readonly after?: string | undefined
    readonly limit?: number | undefined
    readonly signal?: AbortSignal | undefined
  }): Promise<readonly RouteLetter[]>
  /** Closes a letter, which is given up, and keeps it. Rejects if there is no such letter. */
  resolve(id: string): Promise<void>
}
