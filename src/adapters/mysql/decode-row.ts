import { DecodeError } from '../../core/errors.ts'
import type { Event, Headers } from '../../core/event.ts'
import { decodeTrace } from '../../core/trace-bytes.ts'
import { withMicros } from '../../core/with-micros.ts'
import { parseHeaders } from '../../sql/headers-text.ts'
import type { EventColumns, OptionalColumn } from './event-columns.ts'
import type { Row } from './own-connection.ts'

/** The columns that `createDecoder` reads, in its order; those that the table does not have are null. */
export function selectedColumns(columns: EventColumns, present: ReadonlySet<OptionalColumn>): string {
  const { id, foreignId, timestamp, type } = columns
  const optional = (['metadata', 'headers', 'trace'] as const).map((each) =>
    present.has(each) ? `\`${columns[each]}\`` : 'null',
  )
  return [...[id, foreignId, timestamp, type].map((each) => `\`${each}\``), ...optional].join(', ')
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
    return withMicros(minuteMs, Math.round(Number(text.slice(17)) * 1e6))
  }
  return (row) => {
    // By index: this runs once per row, and taking an array apart by its iterator costs more than all the rest.
    const id = digits(row[0]) as string
    const foreignId = digits(row[1])
    const type = typeof row[3] === 'string' ? Number(row[3]) : row[3] // bigint comes as text
    const metadata = typeof row[4] === 'string' ? Buffer.from(row[4]) : row[4]
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
    return { id, type, foreignId, timestamp, metadata, headers: headersOf(name, id, row[5], row[6]) }
  }
}

/** Integers up to 32 bits come as numbers, and larger ones as text. */
function digits(value: unknown): unknown {
  return typeof value === 'number' ? String(value) : value
}

function headersOf(name: string, id: string, text: unknown, trace: unknown): Headers {
  try {
    const headers = parseHeaders(text === null ? null : String(text))
    const traceparent = trace === null ? undefined : decodeTrace(trace as Uint8Array)
    return traceparent === undefined || Object.hasOwn(headers, 'traceparent') ? headers : { ...headers, traceparent }
  } catch (cause) {
    throw new DecodeError(name, { position: id, cause })
  }
}

function wrongColumns([, foreignId, timestamp, type, metadata]: Row): TypeError {
  const found = [foreignId, timestamp, type].map((value) => JSON.stringify(value)).join(', ')
  return new TypeError(
    `expected a foreign id of text or an integer, a timestamp of a date and time, a type of a 32-bit integer and metadata of bytes, text or null, but found ${found} and ${typeof metadata}`,
  )
}
