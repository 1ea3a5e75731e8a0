import { type ErrorKind, ReflexError } from '../../core/errors.ts'

/** Table, column, database or routine access denied; a privilege of the server is needed. */
const DENIED = [1044, 1142, 1143, 1227, 1370]
const LOCK_WAIT_TIMEOUT = 1205
const DEADLOCK = 1213
/** NULL, out of range, truncated, no date, no text of its character set, too long, no JSON, not what a CHECK allows. */
const UNFIT = [1048, 1264, 1265, 1292, 1300, 1366, 1406, 3140, 3144, 3819, 4025]
const DUPLICATE_ENTRY = 1062
const MISSING_TABLE = 1146
const CONNECTION = [
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTUNREACH',
  'ENOTFOUND',
  'EPIPE',
  'ETIMEDOUT',
  'PROTOCOL_CONNECTION_LOST',
]

/** True if the account lacks a privilege. */
export function isDenied(error: unknown): boolean {
  return DENIED.includes(errnoOf(error))
}

/** True if a lock was not granted within `lock_wait_timeout`. */
export function isLockTimeout(error: unknown): boolean {
  return errnoOf(error) === LOCK_WAIT_TIMEOUT
}

/** An error of mysql2 as one that says what to do; every other value as it is. `name` is the log or table that was used. */
export function explainMysql(error: unknown, name: string): unknown {
  const explained = (code: string, advice: string, kind: ErrorKind = 'fatal'): ReflexError =>
    new ReflexError(code, `${name}: ${(error as Error).message}: ${advice}`, { cause: error, kind })
  switch (errnoOf(error)) {
    case 1045:
    case 1698:
      return explained('MYSQL_DENIED', 'check the user and the password', 'auth')
    case 1820:
    case 1862:
    case 3118:
    case 4151:
      return explained('MYSQL_DENIED', 'the account is locked, or its password has expired: mend the account', 'auth')
    case 1040:
    case 1129:
    case 1203:
    case 1226:
      return explained('MYSQL_LIMIT', 'raise the limit, or find out who uses it up', 'quota')
    case 1021:
    case 1114:
      return explained('MYSQL_FULL', 'free space, or raise the limit of the table', 'quota')
    case 1153:
      return explained('MYSQL_PACKET_TOO_LARGE', 'raise max_allowed_packet of the server', 'oversize')
    case 1049:
      return explained('DATABASE_MISSING', 'create it, or check the option database')
    case 1054:
    case 1364:
      return explained('TABLE_LAYOUT', 'the table has other columns: compare it with what createTable() makes')
    case MISSING_TABLE:
      return explained('TABLE_MISSING', 'create it with createTable()')
    case 1290:
    case 1836:
      return explained('MYSQL_READONLY', 'the server takes no writes: it is read-only, or a replica', 'read-only')
    default:
      if (isDenied(error)) return explained('MYSQL_DENIED', 'grant the privilege to this account', 'auth')
      if (!CONNECTION.includes(String((error as { code?: unknown } | null)?.code))) return error
      return explained(
        'MYSQL_CONNECTION',
        'the server is down, restarting or out of reach; start again when it is back',
        'retriable',
      )
  }
}

/** True if a column cannot hold the value that it was given. */
export function isUnfit(error: unknown): boolean {
  return UNFIT.includes(errnoOf(error))
}

/** True if there is no such table. */
export function isMissingTable(error: unknown): boolean {
  return errnoOf(error) === MISSING_TABLE
}

/** True if a row with this key is there already. */
export function isDuplicate(error: unknown): boolean {
  return errnoOf(error) === DUPLICATE_ENTRY
}

/** True if the transaction was rolled back because it and another one waited for each other. */
export function isDeadlock(error: unknown): boolean {
  return errnoOf(error) === DEADLOCK
}

function errnoOf(error: unknown): number {
  return Number((error as { errno?: unknown } | null)?.errno)
}
