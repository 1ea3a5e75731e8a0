import { columnNames } from './column-names.ts'

/** The names of the columns of an event table. Those of `metadata`, `headers` and `trace` may be missing in the table. */
export interface EventColumns {
  /** The position; an integer that AUTO_INCREMENT gives. Default: `id`. */
  readonly id: string
  /** The entity: text, or an integer, which is read and inserted as its decimal digits. Default: `foreign_id`. */
  readonly foreignId: string
  /** In UTC: `datetime` or `timestamp` with any fraction. Default: `timestamp`. */
  readonly timestamp: string
  /** An integer of 32 bits at most. Default: `type`. */
  readonly type: string
  /** The payload: bytes, or text or JSON, which is read as UTF-8. Default: `metadata`. */
  readonly metadata: string
  /** Text: a JSON object of strings and arrays of strings. Default: `headers`. */
  readonly headers: string
  /** The trace context as luno/reflex keeps it, bytes; read into the header `traceparent`. Default: `trace`. */
  readonly trace: string
}

/** The columns that a table may lack. */
export type OptionalColumn = 'metadata' | 'headers' | 'trace'

/** The layout of luno/reflex, with `headers` added. */
const DEFAULT_COLUMNS: EventColumns = {
  id: 'id',
  foreignId: 'foreign_id',
  timestamp: 'timestamp',
  type: 'type',
  metadata: 'metadata',
  headers: 'headers',
  trace: 'trace',
}

/** The names that are given, and the defaults. Throws `OptionError` as `columnNames` does. */
export function eventColumns(given?: Partial<EventColumns>): EventColumns {
  return columnNames(DEFAULT_COLUMNS, given)
}

/** A column `trace` of another type than bytes is some column of the application's. */
export function isTraceType(type: string): boolean {
  return /blob|binary/i.test(type)
}
