import { type AddProblem, type CheckedColumn, declared, INTEGER_BITS, type Modify } from './checked-column.ts'
import { COLUMN_TYPES } from './create-event-table.ts'

const NULL_ENDS = 'the first row without it ends every stream'
const FULL = 'then every INSERT fails, and the transaction that it is in'
const REFUSED = 'are refused on insert, and with them the transaction that they are in'
const FOREIGN_ID_LENGTH = 255

/** What `checkNeededColumns` looks at. */
export interface NeededColumns {
  readonly id: CheckedColumn | undefined
  readonly foreignId: CheckedColumn | undefined
  readonly timestamp: CheckedColumn | undefined
  readonly type: CheckedColumn | undefined
  /** The id that is given next, if that is known. */
  readonly next: bigint | undefined
}

/** Checks the columns that every event table has to have, as far as they are there. */
export function checkNeededColumns(columns: NeededColumns, add: AddProblem, modify: Modify): void {
  const { id, foreignId, timestamp, type, next } = columns
  if (id !== undefined) checkId(id, next, add, modify)
  if (foreignId !== undefined) checkForeignId(foreignId, add, modify)
  if (timestamp !== undefined) checkTimestamp(timestamp, add, modify)
  if (type !== undefined) checkType(type, add, modify)
  for (const column of [foreignId, timestamp, type]) {
    if (column?.nullable === true) {
      add('warning', `${column.name} may be NULL`, NULL_ENDS, modify(column, `${declared(column)} not null`))
    }
  }
}

function checkId(column: CheckedColumn, next: bigint | undefined, add: AddProblem, modify: Modify): void {
  const { name, type } = column
  const bits = INTEGER_BITS[column.dataType]
  if (bits === undefined) {
    add('error', `${name} is ${type}, not bigint`, 'a position must be a whole number', modify(column, COLUMN_TYPES.id))
    return
  }
  if (!column.extra.includes('auto_increment')) {
    const why = 'ids that are given in another way have no order that can be followed: streams are refused'
    add('error', `${name} is not AUTO_INCREMENT`, why, modify(column, `${type} not null auto_increment`))
  }
  if (bits === 64) return
  const last = 2n ** BigInt(type.includes('unsigned') ? bits : bits - 1) - 1n
  const left = next === undefined ? '' : `, and ${last - next + 1n} are left`
  add('warning', `${name} is ${type}: its last id is ${last}${left}`, FULL, modify(column, COLUMN_TYPES.id))
}

function checkForeignId(column: CheckedColumn, add: AddProblem, modify: Modify): void {
  const { name, type, length, charset } = column
  const usual = modify(column, COLUMN_TYPES.foreignId)
  if (INTEGER_BITS[column.dataType] !== undefined) return
  if (!/char|text/.test(column.dataType)) {
    add('error', `${name} is ${type}, neither text nor an integer`, 'it cannot be read as a foreign id', usual)
    return
  }
  if (column.dataType === 'char') {
    add(
      'warning',
      `${name} is ${type}, which loses spaces at the end`,
      `foreign ids that end with one ${REFUSED}`,
      usual,
    )
  }
  if (length !== undefined && length < FOREIGN_ID_LENGTH) {
    const found = `${name} has room for ${length} characters, not ${FOREIGN_ID_LENGTH}`
    add('warning', found, `longer foreign ids ${REFUSED}`, usual)
  }
  if (charset !== 'utf8mb4') {
    const found = `the character set of ${name} is ${charset}, not utf8mb4`
    add('warning', found, `foreign ids with other characters ${REFUSED}`, usual)
  }
}

function checkTimestamp(column: CheckedColumn, add: AddProblem, modify: Modify): void {
  const { name, type, dataType, precision } = column
  const usual = modify(column, COLUMN_TYPES.timestamp)
  if (dataType !== 'datetime' && dataType !== 'timestamp') {
    add('error', `${name} is ${type}, neither datetime nor timestamp`, 'it cannot be read as a time', usual)
    return
  }
  // What changes its type converts it by the time zone of the session.
  const statements = dataType === 'timestamp' ? ["SET time_zone = '+00:00'", usual] : [usual]
  if (dataType === 'timestamp') {
    add('warning', `${name} is ${type}, which ends in 2038 on most servers`, FULL, ...statements)
  }
  if (precision < 6) {
    const found = `${name} keeps ${precision} digits of the fraction of a second, not 6`
    add('warning', found, 'timestamps are cut off', ...statements)
  }
}

function checkType(column: CheckedColumn, add: AddProblem, modify: Modify): void {
  const { name, type } = column
  const bits = INTEGER_BITS[column.dataType]
  const usual = modify(column, COLUMN_TYPES.type)
  const unsigned = type.includes('unsigned')
  if (bits === undefined) {
    add('error', `${name} is ${type}, not an integer`, 'it cannot be read as a type', usual)
  } else if (bits > 32 || (bits === 32 && unsigned)) {
    add('warning', `${name} is ${type}, wider than int`, 'the first row with a larger one ends every stream', usual)
  } else if (bits < 32) add('warning', `${name} is ${type}, narrower than int`, `types beyond it ${REFUSED}`, usual)
}
