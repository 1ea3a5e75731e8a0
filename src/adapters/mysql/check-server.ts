import type { AddProblem } from './checked-column.ts'

/** The global variables that `checkServer` looks at. */
export const SERVER_SETTINGS = [
  'binlog_format',
  'innodb_flush_log_at_trx_commit',
  'log_bin',
  'max_allowed_packet',
  'performance_schema',
  'read_only',
  'super_read_only',
  'sync_binlog',
] as const

const PACKET = 16 * 1024 * 1024
const LOST =
  'after a crash of the machine committed events may be gone that were handled already, and new ones get their ids: consumers take those for handled'

/**
 * Checks the settings of a server; one that it does not have is right. Its defaults for isolation, time zone, sql_mode and
 * character set do not matter, nor does innodb_autoinc_lock_mode.
 */
export function checkServer(kind: 'mysql' | 'mariadb', settings: ReadonlyMap<string, string>, add: AddProblem): void {
  const is = (setting: (typeof SERVER_SETTINGS)[number], ...values: readonly string[]): boolean =>
    values.includes(settings.get(setting) ?? '')
  const set = (setting: string, value: string): string =>
    `SET ${kind === 'mysql' ? 'PERSIST' : 'GLOBAL'} ${setting} = ${value}`

  if (is('innodb_flush_log_at_trx_commit', '0', '2')) {
    add(
      'error',
      `innodb_flush_log_at_trx_commit is ${settings.get('innodb_flush_log_at_trx_commit')}, not 1`,
      LOST,
      set('innodb_flush_log_at_trx_commit', '1'),
    )
  }
  if (is('log_bin', 'ON')) {
    if (settings.has('sync_binlog') && !is('sync_binlog', '1')) {
      add(
        'error',
        `sync_binlog is ${settings.get('sync_binlog')}, not 1, and the binary log is on`,
        LOST,
        set('sync_binlog', '1'),
      )
    }
    if (is('binlog_format', 'STATEMENT')) {
      add(
        'error',
        'binlog_format is STATEMENT',
        'a replica may give the events of concurrent transactions other ids, which no cursor fits after a failover; and transactions that are READ COMMITTED, as purging is, are refused',
        set('binlog_format', "'ROW'"),
      )
    }
  }
  const readOnly = (['super_read_only', 'read_only'] as const).find((each) => is(each, 'ON'))
  if (readOnly !== undefined) {
    add(
      'error',
      `${readOnly} is ON`,
      'events, cursors and checkpoints cannot be written; if this server was made so because it is a replica, use the primary',
      `SET GLOBAL ${readOnly === 'read_only' ? 'read_only' : 'super_read_only'} = OFF`,
      ...(readOnly === 'super_read_only' ? ['SET GLOBAL read_only = OFF'] : []),
    )
  }
  if (kind === 'mysql' && is('performance_schema', 'OFF')) {
    add(
      'warning',
      'performance_schema is OFF',
      'metadata locks cannot be seen, and late commits are told from rollbacks in a slower way or not at all',
      'SET PERSIST_ONLY performance_schema = ON',
      'RESTART',
    )
  }
  if (Number(settings.get('max_allowed_packet') ?? PACKET) < PACKET) {
    add(
      'warning',
      `max_allowed_packet is ${settings.get('max_allowed_packet')}, less than ${PACKET}`,
      'an insert of many events, or of a large one, is refused with the transaction that it is in',
      set('max_allowed_packet', String(PACKET)),
    )
  }
}
