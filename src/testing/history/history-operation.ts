/**
 * What a client wrote to the log: unique in its partition, so that a value that is read leads back to its send. A number is
 * a safe integer; `1` and `"1"` are two values.
 */
export type HistoryValue = string | number

/**
 * What the client knows of an operation: `ok`, it took effect; `failed`, it certainly did not and never will; `unknown`,
 * nobody can tell (a timeout, a lost connection, a crash): it may have taken effect, or may still.
 */
export type HistoryOutcome = 'ok' | 'failed' | 'unknown'

/** A value that was sent; `offset` where the log acknowledged it with one. */
export interface SentRecord {
  readonly partition: string
  readonly value: HistoryValue
  readonly offset?: string | undefined
}

/** A value that was read, and where. */
export interface PolledRecord {
  readonly partition: string
  readonly value: HistoryValue
  readonly offset: string
}

/** Values appended by one call, in their order. Only an `ok` send has offsets. */
export interface SendOperation {
  readonly kind: 'send'
  readonly process: string
  readonly outcome: HistoryOutcome
  readonly transaction?: string | undefined
  readonly records: readonly SentRecord[]
}

/** What one call returned, in its order. Only an `ok` poll has records; one that is `unknown` may have moved the reader on. */
export interface PollOperation {
  readonly kind: 'poll'
  readonly process: string
  readonly outcome: HistoryOutcome
  readonly transaction?: string | undefined
  readonly records: readonly PolledRecord[]
}

/**
 * From here on the process reads what follows `after` in the partition, `""` for the beginning: a seek, or a start. Without
 * `after` it resumes where its group left off (a rebalance): where that is cannot be checked, but what lies before it counts
 * as passed by the group. A process that polls without it is taken to resume like that.
 */
export interface AssignOperation {
  readonly kind: 'assign'
  readonly process: string
  readonly outcome: HistoryOutcome
  readonly partition: string
  readonly after?: string | undefined
}

/** The end of a transaction, which is one process's own. One that the history never ends counts as unknown. */
export interface TransactionEnd {
  readonly kind: 'commit' | 'abort'
  readonly process: string
  readonly outcome: HistoryOutcome
  readonly transaction: string
}

/**
 * One call of one client, a line of a history. The operations of a process stand in the order in which it called them (not
 * in which they completed); those of different processes may be interleaved in any way. An operation's index is its place in
 * the history, from 0. Transaction ids are unique in the history.
 *
 * An offset is a string: a Kafka offset or a JetStream sequence in decimal (`"42"`), or a Redis entry id (`"1700000000000-3"`).
 * See `compareOffsets`.
 *
 * @example { kind: 'send', process: 'p1', outcome: 'ok', records: [{ partition: 'orders-0', value: 'a', offset: '42' }] }
 */
export type HistoryOperation = SendOperation | PollOperation | AssignOperation | TransactionEnd
