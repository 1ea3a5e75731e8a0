import { DecodeError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { parseHeaders } from '../../sql/headers-text.ts'
import type { Row } from './own-connection.ts'

/** The columns that `createDecoder` reads, in its order; what a table does not have is null. */
export function eventColumns(columns: ReadonlySet<string>): string {
  const optional = ['metadata', 'headers'].map((column) => (columns.has(column) ? column : 'null'))
  return ['id', 'foreign_id', '`timestamp`', '`type`', ...optional].join(', ')
}

/** Makes what turns rows into events. Throws `DecodeError` on a row that is none. */
export function createDecoder(name: string): (row: Row) => Event {
  // Most rows have the minute of the row before them.
  let minute = '?'
  let minuteMs = Number.NaN
  const toMs = (text: string): number => {
    if (!text.startsWith(minute)) {
      minute = text.slice(0, 17)
      minuteMs = Date.parse(`${text.slice(0, 10)}T${text.slice(11, 16)}Z`)
    }
    return minuteMs + Math.round(Number(text.slice(17)) * 1e6) / 1000
  }
  return (row) => {
    // By index: this runs once per row, and taking an array apart by its iterator costs more than all the rest.
    const id = row[0] as string
    const foreignId = row[1]
    const type = row[3]
    const metadata = row[4]
    const timestamp = typeof row[2] === 'string' ? toMs(row[2]) : Number.NaN
    if (
      typeof foreignId !== 'string' ||
      typeof type !== 'number' ||
      type !== (type | 0) ||
      Number.isNaN(timestamp) ||
      !(metadata === null || metadata instanceof Uint8Array)
    ) {
      throw new DecodeError(name, { position: id, cause: wrongColumns(row) })
    }
    return { id, type, foreignId, timestamp, metadata, headers: headersOf(name, id, row[5] as string | null) }
  }
}

function headersOf(name: string, id: string, text: string | null): Event['headers'] {
  try {
    return parseHeaders(text)
  } catch (cause) {
    throw new DecodeError(name, { position: id, cause })
  }
}

function wrongColumns([, foreignId, timestamp, type, metadata]: Row): TypeError {
  const found = [foreignId, timestamp, type].map((value) => JSON.stringify(value)).join(', ')
  return new TypeError(
    `expected foreign_id text, timestamp a date, type a 32-bit integer and metadata a blob or null, but found ${found} and ${typeof metadata}`,
  )
}
