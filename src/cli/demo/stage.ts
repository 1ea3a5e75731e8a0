import type { CursorStore, NewEvent, Source } from '../../core/index.ts'
import type { ServerProcess } from '../../testing/servers/index.ts'

/** An event as the audit sees it: which one it was in the source, and which order it is about. */
export interface AuditEntry {
  readonly sourceId: string
  readonly orderId: string
}

/** One destination of the demo. */
export interface Target {
  readonly name: string
  /** The route's sink in the bridge's configuration. */
  readonly sink: Readonly<Record<string, unknown>>
  /** What the consumer reads. */
  readonly source: Source
  /** Everything in the destination, in its own order, read without this package's sources. */
  entries(): AsyncIterable<AuditEntry>
  /** The broker's process, if it can be killed. */
  readonly process?: Pick<ServerProcess, 'kill' | 'start'> | undefined
}

/** Where the demo plays: a database with an event table, and destinations. */
export interface Stage extends AsyncDisposable {
  readonly title: string
  /** What the writer processes connect to. */
  readonly databaseUrl: string
  /** The routes' source in the bridge's configuration. */
  readonly source: Readonly<Record<string, unknown>>
  readonly targets: readonly Target[]
  /** The consumers' cursors. */
  readonly cursors: CursorStore
  /** Every event that is committed, in the order of the table, read by plain SQL. */
  committed(): AsyncIterable<AuditEntry>
}

/** One connection of an application to its database: orders and their events change in one transaction. */
export interface OrderDatabase extends AsyncDisposable {
  /** Inserts `orders` and `events` in one transaction and commits it, or rolls it back. */
  transaction(o: {
    readonly orders: readonly string[]
    readonly events: readonly NewEvent[]
    readonly commit: boolean
  }): Promise<void>
}
