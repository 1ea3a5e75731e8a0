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
  let minute = ''
  let minuteMs = 0
  const toMs = (text: string): number => {
    if (!text.startsWith(minute) || minute === '') {
      minute = text.slice(0, 17)
      minuteMs = Date.parse(`${text.slice(0, 10)}T${text.slice(11, 16)}Z`)
    }
    return minuteMs + Math.round(Number(text.slice(17)) * 1e6) / 1000
  }
  return (row) => {
    const [id, foreignId, text, type, metadata, headers] = row
    const timestamp = typeof text === 'string' ? toMs(text) : Number.NaN
    if (
      typeof foreignId !== 'string' ||
      Number.isNaN(timestamp) ||
      typeof type !== 'number' ||
      type !== (type | 0) ||
      !(metadata === null || metadata instanceof Uint8Array)
    ) {
      const cause = new TypeError(
        `expected foreign_id text, timestamp a date, type a 32-bit integer and metadata a blob or null, but found ${[foreignId, text, type].map((value) => JSON.stringify(value)).join(', ')} and ${typeof metadata}`,
      )
      throw new DecodeError(name, { position: String(id), cause })
    }
    try {
      return { id: String(id), type, foreignId, timestamp, metadata, headers: parseHeaders(headers as string | null) }
    } catch (cause) {
      throw new DecodeError(name, { position: String(id), cause })
    }
  }
}
