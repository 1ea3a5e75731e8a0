import type { Cursor, Event } from './event.ts'

/** What handles events. Only `name` and `handle` are needed. */
export interface Consumer {
  /** Under this name the cursor is stored: two consumers never share one. */
  readonly name: string
  /** Handles one event; never called again before it has returned. What it throws ends the run (rule 3). A synchronous handler costs no await. */
  handle(event: Event, context: { readonly signal: AbortSignal }): void | Promise<void>
  /** Only these types are handled; others are skipped and the cursor moves over them. Default: all. */
  readonly types?: readonly number[]
  /** False skips the event, which then counts as done. Must be quick and do no I/O; what it throws goes to `recover`. */
  filter?(event: Event): boolean
  /** What to do about an error of `filter` or `handle`: returning swallows it, throwing fails the run. Not called after an abort. */
  recover?(error: unknown, event: Event, context: { readonly signal: AbortSignal }): void | Promise<void>
  /** Called before the cursor is read; background work may later end the run through `fail`. Drop what an earlier run left unfinished. */
  start?(context: { fail(error: unknown): void; readonly signal: AbortSignal }): void | Promise<void>
  /** Called on the way out, before the last save, with a signal of its own that is live: finish or drop background work. */
  stop?(context: { readonly signal: AbortSignal }): void | Promise<void>
  /**
   * Holds the cursor back while background work is outstanding: the id of the last event before the first that is not
   * settled, `""` if there is none since the start, `undefined` when nothing is outstanding. Asked before each save, and every
   * second after which something may be outstanding.
   */
  settled?(): Cursor | undefined
}
