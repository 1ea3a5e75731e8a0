import { type AddProblem, type CheckedColumn, declared, type Modify } from './checked-column.ts'
import { COLUMN_TYPES } from './create-event-table.ts'
import { isTraceType, type OptionalColumn } from './event-columns.ts'

const REFUSED = 'are refused on insert, and with them the transaction that they are in'
/** Of a trace with flags. */
const TRACE_LENGTH = 55
/** More is no limit that is met by chance: longblob, longtext, json, mediumblob. */
const LIMIT = 65_535

/** Checks the columns that a table may lack, as far as they are there. */
export function checkOptionalColumns(
  { metadata, headers, trace }: Readonly<Record<OptionalColumn, CheckedColumn | undefined>>,
  add: AddProblem,
  modify: Modify,
): void {
  if (metadata !== undefined) checkMetadata(metadata, add, modify)
  if (headers !== undefined) {
    const usual = modify(headers, COLUMN_TYPES.headers)
    if (/blob|text|char|json/.test(headers.dataType)) checkRoom(headers, 'headers', add, usual)
    else add('error', `${headers.name} is ${headers.type}, not text`, 'it cannot be read as headers', usual)
  }
  // Of another type it is some column of the application's.
  const ownTrace = trace !== undefined && isTraceType(trace.dataType) ? trace : undefined
  if (ownTrace !== undefined && (ownTrace.dataType === 'binary' || (ownTrace.length ?? 0) < TRACE_LENGTH)) {
    const why = `a trace has up to ${TRACE_LENGTH} bytes: events with one ${REFUSED}`
    add('warning', `${ownTrace.name} is ${ownTrace.type}`, why, modify(ownTrace, COLUMN_TYPES.trace))
  }
  for (const [column, what] of [
    [metadata, 'a payload'],
    [headers, 'headers'],
    [ownTrace, 'a trace'],
  ] as const) {
    if (column === undefined || column.nullable) continue
    const why = `events without ${what} ${REFUSED}, and none cannot be told from empty`
    add('warning', `${column.name} is NOT NULL`, why, modify(column, `${declared(column)} null`))
  }
}

function checkMetadata(column: CheckedColumn, add: AddProblem, modify: Modify): void {
  const { name, type, dataType } = column
  const usual = modify(column, COLUMN_TYPES.metadata)
  if (!/blob|binary|text|char|json/.test(dataType)) {
    add('error', `${name} is ${type}, neither bytes nor text`, 'it cannot be read as a payload', usual)
  } else if (dataType === 'json') {
    const why = 'only JSON can be inserted, and it is read in the form that the server gives it, not byte for byte'
    add('warning', `${name} is json`, why, usual)
  } else if (/text|char/.test(dataType)) {
    add('warning', `${name} is ${type}, not bytes`, `payloads that are no text ${REFUSED}`, usual)
  } else if (dataType === 'binary') {
    add('warning', `${name} is ${type}`, 'shorter payloads are filled up with zeros', usual)
  } else checkRoom(column, 'payloads', add, usual)
}

function checkRoom({ name, type, length }: CheckedColumn, what: string, add: AddProblem, mend: string): void {
  if (length === undefined || length > LIMIT) return
  add('warning', `${name} is ${type}, which has room for ${length} bytes`, `longer ${what} ${REFUSED}`, mend)
}
