import { ReflexError } from '../../core/errors.ts'
import type { NewEvent } from '../../core/event.ts'
import { encodeTrace } from '../../core/trace-bytes.ts'
import { formatTimestamp } from '../../core/wire.ts'
import { formatHeaders } from '../../sql/headers-text.ts'
import type { EventColumns } from './event-columns.ts'
import { isNoop } from './is-noop.ts'
import { explainMysql, isUnfit } from './mysql-error.ts'
import type { PooledQuery } from './pooled-query.ts'
import { type TableLayout, tableLayout } from './table-layout.ts'

const ROWS = 500
/** Below the smallest `max_allowed_packet` in use, 16 MiB, as a payload is sent in hexadecimal digits. */
const STATEMENT_BYTES = 4 * 1024 * 1024

/**
 * What the statement needs whatever the caller's session has: a time zone for columns of the type timestamp, and that
 * nothing is cut off or replaced to fit. MariaDB reads the one comment, MySQL the other; the session stays as it is.
 */
const STRICT = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'
const INSERT = `/*M! set statement sql_mode = '${STRICT}', time_zone = '+00:00' for */ insert /*+ set_var(sql_mode = '${STRICT},TIME_TRUNCATE_FRACTIONAL') set_var(time_zone = '+00:00') */ into`

/**
 * Inserts events on a connection, in its transaction if there is one, and returns their ids, in order. Throws
 * `EVENT_UNENCODABLE` on what would come back as something else, and `TABLE_LAYOUT` where a column is missing.
 */
export type InsertEvents = (run: PooledQuery, events: readonly NewEvent[]) => Promise<string[]>

/** Makes what inserts into a table; `into` is its quoted name. The first insert looks at the table. */
export function insertEvents(name: string, into: string, columns: EventColumns): InsertEvents {
  let known: TableLayout | undefined
  return async (run, events) => {
    try {
      if (events.length === 0) return []
      known ??= await tableLayout(run, into, columns)
      const layout = known
      const { foreignId, timestamp, type, metadata, headers, trace } = columns
      const optional = [layout.metadata && metadata, layout.headers && headers, layout.trace && trace]
      const names = [foreignId, timestamp, type, ...optional.filter((each) => typeof each === 'string')]
      const statement = `${INSERT} ${into} (${names.map((each) => `\`${each}\``).join(', ')}) values `
      const ids: string[] = []
      let step: bigint | undefined
      for (const part of parts(events.map((event) => toRow(name, event, layout)))) {
        const tuples = part.map((row) => `(${row.map(([sql]) => sql).join(', ')})`)
        const values = part.flatMap((row) => row.flatMap(([, value]) => (value === undefined ? [] : [value])))
        const result = await run(statement + tuples.join(', '), values)
        // One statement with a known number of rows gets ids in a row, in every innodb_autoinc_lock_mode.
        const first = BigInt((result as { insertId: number | string }).insertId)
        if (part.length > 1)
          step ??= BigInt(((await run('select @@auto_increment_increment', [])) as [[string | number]])[0][0])
        for (let i = 0; i < part.length; i++) ids.push(String(first + BigInt(i) * (step ?? 1n)))
      }
      return ids
    } catch (error) {
      known = undefined // the table may have been altered
      if (isUnfit(error))
        throw unencodable(name, `${(error as Error).message}: check() says which column is too narrow`, error)
      throw explainMysql(error, name)
    }
  }
}

/** What stands for a value in the statement, and the value; undefined if it needs none. */
type Cell = readonly [sql: string, value?: Buffer | string | number]

const NULL: Cell = ['null']
/** What a column `trace` stands for; of the second there is nothing in it, as W3C Trace Context permits. */
const inTrace: readonly string[] = ['traceparent', 'tracestate']

/** Texts are sent as bytes: whatever the connection's character set and sql_mode are, they arrive as they are. */
function text(bytes: Buffer): Cell {
  return ['_utf8mb4 ?', bytes]
}

/** An event by the columns of the statement. */
function toRow(name: string, event: NewEvent, layout: TableLayout): readonly Cell[] {
  const { foreignId, timestamp, type, metadata = null, headers } = event
  const refuse = (problem: string): never => {
    throw unencodable(name, problem)
  }
  if (type !== (type | 0)) refuse(`the type of an event must be a 32-bit integer, but is ${type}`)
  if (isNoop(event))
    refuse('type 0 with the foreignId "0" is reserved: it takes the place of an id that was rolled back')
  if (typeof foreignId !== 'string' || !foreignId.isWellFormed()) {
    refuse(`a foreignId must be well-formed Unicode, but is ${JSON.stringify(foreignId)}`)
  }
  if (layout.foreignId === 'integer' && !/^(0|-?[1-9]\d*)$/.test(foreignId)) {
    refuse(`a foreignId must be an integer, as its column is, but is ${JSON.stringify(foreignId)}`)
  }
  if (layout.foreignId === 'padded text' && foreignId.endsWith(' ')) {
    refuse(
      `a foreignId must not end with a space, which its column of the type char loses, but is ${JSON.stringify(foreignId)}`,
    )
  }
  const length = [...foreignId].length
  if (length > (layout.foreignIdLength ?? Number.POSITIVE_INFINITY)) {
    refuse(`a foreignId must have ${layout.foreignIdLength} characters at most, but has ${length}`)
  }
  if (!(metadata === null || metadata instanceof Uint8Array)) {
    refuse(`metadata must be bytes or null, but is ${typeof metadata}`)
  }
  const row: Cell[] = [
    text(Buffer.from(foreignId)),
    timestamp === undefined ? ['utc_timestamp(6)'] : ['?', formatDatetime(timestamp)],
    ['?', type],
  ]
  if (layout.metadata === undefined && metadata !== null) throw missing(name, 'metadata')
  if (layout.metadata !== undefined) row.push(metadataCell(metadata, layout.metadata))
  const traceparent = layout.trace ? headers?.['traceparent'] : undefined
  const trace = typeof traceparent === 'string' ? encodeTrace(traceparent) : undefined
  if (layout.headers) {
    const json = formatHeaders(headers)
    row.push(json === null ? NULL : text(Buffer.from(json)))
  } else if (Object.keys(headers ?? {}).some((each) => trace === undefined || !inTrace.includes(each)))
    throw missing(name, 'headers')
  if (layout.trace) row.push(trace === undefined ? NULL : ['?', trace])
  return row
}

function metadataCell(metadata: Uint8Array | null, kind: 'bytes' | 'text'): Cell {
  if (metadata === null) return NULL
  const bytes = Buffer.from(metadata.buffer, metadata.byteOffset, metadata.length)
  return kind === 'text' ? text(bytes) : ['?', bytes]
}

/** Epoch ms as a datetime(6) in UTC. Throws outside of the years 0 to 9999. */
export function formatDatetime(timestamp: number): string {
  return formatTimestamp(timestamp).replace('T', ' ').slice(0, -1)
}

function unencodable(name: string, problem: string, cause?: unknown): ReflexError {
  return new ReflexError('EVENT_UNENCODABLE', `${name}: ${problem}`, { cause, kind: 'poison' })
}

function missing(name: string, column: 'metadata' | 'headers'): ReflexError {
  return new ReflexError(
    'TABLE_LAYOUT',
    `${name}: the event has ${column}, but the table has no column for them: add it as createTable() makes it, or name it with the option columns`,
    { retriable: false },
  )
}

/** Rows by statement. */
function* parts(rows: readonly (readonly Cell[])[]): Generator<readonly (readonly Cell[])[]> {
  let part: (readonly Cell[])[] = []
  let bytes = 0
  for (const row of rows) {
    const size = row.reduce((sum, [, value]) => sum + (value instanceof Buffer ? value.length : 0), 0)
    if (part.length === ROWS || (part.length > 0 && bytes + size > STATEMENT_BYTES)) {
      yield part
      part = []
      bytes = 0
    }
    part.push(row)
    bytes += size
  }
  if (part.length > 0) yield part
}
