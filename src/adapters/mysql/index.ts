export type { Inserted } from '../../sql/inserted.ts'
export type { PurgeHolders } from '../../sql/purge-holders.ts'
export type { PurgeOptions, PurgeProgress, PurgeResult } from '../../sql/purge-table.ts'
export type { MysqlCheck } from './check-events.ts'
export type { CursorColumns } from './cursors-table.ts'
export type { DeadLetter, DeadLetterColumns } from './dead-letters-table.ts'
export type { EventColumns } from './event-columns.ts'
export { GapBlockedError } from './gap-blocked-error.ts'
export { GapProofError, type GapProofKind } from './gap-proof.ts'
export { type MysqlCursors, type MysqlCursorsOptions, mysqlCursors } from './mysql-cursors.ts'
export {
  type ListDeadLettersOptions,
  type MysqlDeadLetters,
  type MysqlDeadLettersOptions,
  mysqlDeadLetters,
  type RetriedDeadLetters,
} from './mysql-dead-letters.ts'
export { type MysqlEvents, type MysqlEventsOptions, mysqlEvents } from './mysql-events.ts'
export { type MysqlLeases, mysqlLeases } from './mysql-leases.ts'
export { type MysqlConnection, type MysqlPool, mysqlOptions } from './mysql-pool.ts'
export type { MysqlProblem } from './mysql-problem.ts'
export {
  type MysqlTransactionsOptions,
  mysqlTransactions,
  type TransactionalConsumer,
  type TransactionContext,
} from './mysql-transactions.ts'
export type { Blocked } from './wait.ts'
export type { BarrierMode } from './writers-of-now.ts'
