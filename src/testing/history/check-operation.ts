import { HistoryError } from './history-error.ts'
import type { HistoryOperation } from './history-operation.ts'

const offsetPattern = /^(0|[1-9]\d*)(-(0|[1-9]\d*))*$/
const offsetExpected = 'a string of decimal numbers, "42" or "1700000000000-3"'

const fields: Readonly<Record<string, readonly string[]>> = {
  send: ['kind', 'process', 'outcome', 'transaction', 'records'],
  poll: ['kind', 'process', 'outcome', 'transaction', 'records'],
  assign: ['kind', 'process', 'outcome', 'partition', 'after'],
  commit: ['kind', 'process', 'outcome', 'transaction'],
  abort: ['kind', 'process', 'outcome', 'transaction'],
}
const recordFields = ['partition', 'value', 'offset']

type Fields = Readonly<Record<string, unknown>>

/** Returns what it was given if that is an operation; throws a `HistoryError` that says what was expected and found. */
export function checkOperation(found: unknown, unit: 'line' | 'operation', at: number): HistoryOperation {
  const refuse = (expected: string, what: unknown): never => {
    throw new HistoryError(unit, at, { expected, found: what })
  }
  if (!isObject(found)) return refuse('an operation, which is an object', found)
  const { kind, outcome, transaction, records } = found
  const known = typeof kind === 'string' && Object.hasOwn(fields, kind) ? fields[kind] : undefined
  if (known === undefined) return refuse('"kind" to be "send", "poll", "assign", "commit" or "abort"', kind)
  for (const field in found) {
    if (!known.includes(field)) refuse(`the fields of ${kind} to be ${known.join(', ')}`, field)
  }
  if (typeof found['process'] !== 'string') refuse('"process" to be a string', found['process'])
  if (outcome !== 'ok' && outcome !== 'failed' && outcome !== 'unknown')
    refuse('"outcome" to be "ok", "failed" or "unknown"', outcome)

  const ends = kind === 'commit' || kind === 'abort'
  if (typeof transaction !== 'string' && (ends || transaction !== undefined))
    refuse(`"transaction" to be a string${ends ? '' : ', or to be left out'}`, transaction)
  if (kind === 'assign') {
    const { partition, after } = found
    if (typeof partition !== 'string') refuse('"partition" to be a string', partition)
    if (after !== undefined && after !== '' && !isOffset(after))
      refuse(`"after" to be "" for the beginning, or ${offsetExpected}`, after)
  }
  if (kind !== 'send' && kind !== 'poll') return found as unknown as HistoryOperation

  if (!Array.isArray(records)) return refuse('"records" to be an array', records)
  if (kind === 'poll' && outcome !== 'ok' && records.length > 0)
    refuse(`"records" to be empty, since the poll's outcome is ${outcome as string}`, records)
  for (const record of records as unknown[]) {
    if (!isObject(record)) return refuse('a record, which is an object', record)
    const { partition, value, offset } = record
    for (const field in record) {
      if (!recordFields.includes(field)) refuse(`the fields of a record to be ${recordFields.join(', ')}`, field)
    }
    if (typeof partition !== 'string') refuse('"partition" to be a string', partition)
    if (typeof value !== 'string' && !Number.isSafeInteger(value))
      refuse('"value" to be a string or a safe integer', value)
    if (offset === undefined && kind === 'send') continue
    if (outcome !== 'ok') refuse(`no "offset", since the send's outcome is ${outcome as string}`, offset)
    if (!isOffset(offset)) refuse(`"offset" to be ${offsetExpected}`, offset)
  }
  return found as unknown as HistoryOperation
}

function isObject(found: unknown): found is Fields {
  return typeof found === 'object' && found !== null && !Array.isArray(found)
}

function isOffset(found: unknown): boolean {
  return typeof found === 'string' && offsetPattern.test(found)
}
