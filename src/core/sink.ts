import type { Cursor, Event } from './event.ts'

/** The destination's own position after an append (offset per partition, sequence, entry id), opaque to the pump. */
export type Mark = string

/** What a bridge has saved of a route: how far it read the source, and where that stands in the destination. */
export interface Checkpoint {
  readonly cursor: Cursor
  readonly mark: Mark
}

/** A destination of a bridge. */
export interface Sink {
  /** Names the destination in errors, metrics and status. */
  readonly name: string
  /**
   * Takes the route over: fences every other writer of it first, then reads the destination's tail and holds it against
   * `saved` to find where to resume. Rejects when the destination holds something that it cannot explain.
   * `route` names the bridge whose checkpoint it is, `source` the log that the events come from (`Source.name`).
   */
  open(options: {
    readonly route: string
    readonly source: string
    readonly saved?: Checkpoint | undefined
    readonly signal?: AbortSignal | undefined
  }): Promise<SinkWriter>
  /**
   * What of the destination's settings can lose events that it has acknowledged, in words for an operator: what is set, and what
   * that risks. Changes nothing, takes nothing over. `open` asks the same.
   */
  audit?(options?: { signal?: AbortSignal | undefined }): Promise<readonly string[]>
}

/** The one writer of a route. After an error it is dead: close it and open another one. */
export interface SinkWriter extends AsyncDisposable {
  /** Read the source from here. */
  readonly resumeFrom: Cursor
  /** What was found and is being mended, in words for an operator; undefined when the tail is as saved. */
  readonly repair?: string
  /**
   * Appends all of `events`, in order and unchanged, and `cursor`, the source's position after them; `events` may be empty.
   * Rejects with nothing or everything appended: an unknown outcome is resolved by the next `open`. What cannot be carried
   * unchanged, as text that is not well-formed Unicode, is `EVENT_UNENCODABLE`.
   * Throws `FencedError` when another writer has taken over.
   */
  append(events: readonly Event[], cursor: Cursor): Promise<Mark>
}
