import { codeOf, type ErrorKind, messageOf, ReflexError } from '../../core/errors.ts'

const PRIMARY = 0xff // the rest of a result code tells variants apart
const BUSY = 5
const LOCKED = 6

/** True if another connection holds the lock that was needed: waiting helps. */
export function isBusy(error: unknown): boolean {
  const code = resultCode(error)
  return code === BUSY || code === LOCKED
}

/** An error of `node:sqlite` as one that says what to do; every other value as it is. `name` is the log, file or table that was used. */
export function explainSqlite(error: unknown, name: string): unknown {
  if (codeOf(error) !== undefined) return error
  const found = messageOf(error)
  const explained = (code: string, advice: string, kind: ErrorKind): ReflexError =>
    new ReflexError(code, `${name}: ${found}: ${advice}`, { cause: error, kind })
  if ((error as { code?: unknown } | null)?.code === 'ERR_INVALID_STATE') {
    return explained(
      'SQLITE_CLOSED',
      'the database handle was closed while it was still in use; close it last',
      'fatal',
    )
  }
  switch (resultCode(error)) {
    case undefined:
      return error
    case BUSY:
    case LOCKED:
      return explained(
        'SQLITE_BUSY',
        'another connection holds its lock for too long: find the transaction that stays open and keep it short',
        'retriable',
      )
    case 8:
      return explained(
        'SQLITE_READONLY',
        'give this user write access to the file and to its folder, or open it without readOnly',
        'read-only',
      )
    case 10:
      return explained(
        'SQLITE_IO',
        'the disk failed: check it, and the file, before anything is written again',
        'retriable',
      )
    case 11:
    case 26:
      return explained(
        'SQLITE_CORRUPT',
        'the file is damaged or no SQLite database: restore it from a copy, and check the path',
        'fatal',
      )
    case 13:
      return explained('SQLITE_FULL', 'free space on the disk; nothing of this transaction was written', 'quota')
    case 14:
      return explained(
        'SQLITE_CANNOT_OPEN',
        'check that the file, or at least its folder, exists and may be read',
        'fatal',
      )
  }
  if (/^no such table/.test(found)) return explained('TABLE_MISSING', 'create it with createTable()', 'fatal')
  if (/no (such )?column/.test(found)) {
    return explained(
      'TABLE_LAYOUT',
      'the table was not made by createTable() of this version; compare its columns',
      'fatal',
    )
  }
  return explained('SQLITE_ERROR', 'see the cause', 'retriable')
}

function resultCode(error: unknown): number | undefined {
  const { code, errcode } = (error ?? {}) as { code?: unknown; errcode?: unknown }
  return code === 'ERR_SQLITE_ERROR' && typeof errcode === 'number' ? errcode & PRIMARY : undefined
}
