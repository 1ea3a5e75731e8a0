import { ReflexError } from '../../core/errors.ts'
import type { NewEvent } from '../../core/event.ts'
import { formatTimestamp } from '../../core/wire.ts'
import { formatHeaders } from '../../sql/headers-text.ts'
import { explainMysql } from './mysql-error.ts'
import { type CoreConnection, runQuery } from './mysql-pool.ts'

const FOREIGN_ID_LENGTH = 255
const ROWS = 500
/** Below the smallest `max_allowed_packet` in use, 16 MiB, as a payload is sent in hexadecimal digits. */
const STATEMENT_BYTES = 4 * 1024 * 1024

/** Inserts events on a connection, in its transaction if there is one, and returns their ids, in order. `into` is quoted. */
export async function insertEvents(
  name: string,
  connection: CoreConnection,
  into: string,
  events: readonly NewEvent[],
): Promise<string[]> {
  const rows = events.map((event) => toRow(name, event))
  // A table of reflex may lack these columns.
  const optional = {
    metadata: rows.some((row) => row.metadata !== null),
    headers: rows.some((row) => row.headers !== null),
  }
  const columns = [
    'foreign_id',
    '`timestamp`',
    '`type`',
    ...(optional.metadata ? ['metadata'] : []),
    ...(optional.headers ? ['headers'] : []),
  ]
  const ids: string[] = []
  const query = async (sql: string, values: readonly unknown[] = []): Promise<unknown> => {
    try {
      return await runQuery(connection, sql, values)
    } catch (error) {
      throw explainMysql(error, name)
    }
  }
  let step: bigint | undefined
  for (const part of parts(rows)) {
    const values: unknown[] = []
    const tuples = part.map((row) => {
      values.push(row.foreignId, ...(row.timestamp === null ? [] : [row.timestamp]), row.type)
      if (optional.metadata) values.push(row.metadata)
      if (optional.headers) values.push(row.headers)
      // Texts are sent as bytes: whatever the connection's character set and sql_mode are, they arrive as they are.
      return `(_utf8mb4 ?, ${row.timestamp === null ? 'utc_timestamp(6)' : '?'}, ?${optional.metadata ? ', ?' : ''}${optional.headers ? (row.headers === null ? ', ?' : ', _utf8mb4 ?') : ''})`
    })
    const result = await query(`insert into ${into} (${columns.join(', ')}) values ${tuples.join(', ')}`, values)
    // One statement with a known number of rows gets ids in a row, in every innodb_autoinc_lock_mode.
    const first = BigInt((result as { insertId: number | string }).insertId)
    if (part.length > 1)
      step ??= BigInt(((await query('select @@auto_increment_increment')) as [[string | number]])[0][0])
    for (let i = 0; i < part.length; i++) ids.push(String(first + BigInt(i) * (step ?? 1n)))
  }
  return ids
}

interface InsertRow {
  readonly foreignId: Buffer
  /** Null for now. */
  readonly timestamp: string | null
  readonly type: number
  readonly metadata: Buffer | null
  readonly headers: Buffer | null
}

function toRow(name: string, { foreignId, timestamp, type, metadata = null, headers }: NewEvent): InsertRow {
  const refuse = (problem: string): never => {
    throw new ReflexError('EVENT_UNENCODABLE', `${name}: ${problem}`, { retriable: false })
  }
  if (type !== (type | 0)) refuse(`the type of an event must be a 32-bit integer, but is ${type}`)
  if (typeof foreignId !== 'string' || !foreignId.isWellFormed()) {
    refuse(`a foreignId must be well-formed Unicode, but is ${JSON.stringify(foreignId)}`)
  }
  if ([...foreignId].length > FOREIGN_ID_LENGTH) {
    refuse(`a foreignId must have ${FOREIGN_ID_LENGTH} characters at most, but has ${[...foreignId].length}`)
  }
  if (!(metadata === null || metadata instanceof Uint8Array)) {
    refuse(`metadata must be bytes or null, but is ${typeof metadata}`)
  }
  return {
    foreignId: Buffer.from(foreignId),
    timestamp: timestamp === undefined ? null : formatDatetime(timestamp),
    type,
    metadata: metadata === null ? null : Buffer.from(metadata.buffer, metadata.byteOffset, metadata.length),
    headers: bytesOf(formatHeaders(headers)),
  }
}

/** Epoch ms as a datetime(6) in UTC. Throws outside of the years 0 to 9999. */
export function formatDatetime(timestamp: number): string {
  return formatTimestamp(timestamp).replace('T', ' ').slice(0, -1)
}

function bytesOf(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text)
}

/** Rows by statement. */
function* parts(rows: readonly InsertRow[]): Generator<readonly InsertRow[]> {
  let part: InsertRow[] = []
  let bytes = 0
  for (const row of rows) {
    const size = (row.metadata?.length ?? 0) + (row.headers?.length ?? 0)
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
