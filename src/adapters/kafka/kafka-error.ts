import { type ErrorKind, messageOf, ReflexError } from '../../core/errors.ts'

/** What to do about an error of a broker, by its name, and of what kind it is. What is not here is worth another try. */
const replies: Readonly<Record<string, readonly [advice: string, kind: ErrorKind]>> = {
  // Also what a broker says of a topic that it has not heard of yet, after its creation or its own start.
  UNKNOWN_TOPIC_OR_PARTITION: ['there is no such topic or partition: create it, or correct its name', 'retriable'],
  UNKNOWN_TOPIC_ID: ['the topic was deleted', 'retriable'],
  LEADER_NOT_AVAILABLE: [
    'none of the brokers that hold the partition and were in sync is alive: start one, or wait for the election',
    'retriable',
  ],
  INVALID_TOPIC_EXCEPTION: ['this cannot be the name of a topic', 'fatal'],
  TOPIC_AUTHORIZATION_FAILED: ["the user's ACLs do not permit it: grant the operation on the topic", 'auth'],
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: [
    "the user's ACLs do not permit it: grant Write and Describe on the transactional id",
    'auth',
  ],
  CLUSTER_AUTHORIZATION_FAILED: ["the user's ACLs do not permit it: grant IdempotentWrite on the cluster", 'auth'],
  GROUP_AUTHORIZATION_FAILED: ["the user's ACLs do not permit it: grant Read on the group", 'auth'],
  SASL_AUTHENTICATION_FAILED: ['the user name or password is wrong', 'auth'],
  NOT_ENOUGH_REPLICAS: ['fewer replicas are in sync than min.insync.replicas asks for', 'retriable'],
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: ['fewer replicas are in sync than min.insync.replicas asks for', 'retriable'],
  CONCURRENT_TRANSACTIONS: [
    'the transaction before is still being ended; if that lasts, a partition of it has too few replicas in sync, or no leader',
    'retriable',
  ],
  // Of a batch: it is an event that is too large only if it is alone in it.
  MESSAGE_TOO_LARGE: ['a batch is larger than max.message.bytes of its topic: raise it', 'retriable'],
  RECORD_LIST_TOO_LARGE: ['a batch is larger than segment.bytes of its topic: raise it', 'retriable'],
  THROTTLING_QUOTA_EXCEEDED: ['a quota of the cluster is used up: wait, or raise it', 'quota'],
  PRODUCER_FENCED: ['another writer of this route has taken over', 'fenced'],
  INVALID_PRODUCER_EPOCH: ['another writer of this route has taken over', 'fenced'],
  KAFKA_STORAGE_ERROR: ['the broker cannot write its data to disk: read its log, and free space', 'read-only'],
  UNSUPPORTED_VERSION: ['the broker is too old: Kafka 3.1 or newer is needed', 'fatal'],
  INVALID_TIMESTAMP: [
    "this machine's clock is further ahead of the broker's than message.timestamp.after.max.ms permits: set it right",
    'retriable',
  ],
  UNSUPPORTED_COMPRESSION_TYPE: ['choose another compression', 'fatal'],
  POLICY_VIOLATION: ['a policy of the cluster forbids it', 'fatal'],
  INVALID_TRANSACTION_TIMEOUT: [
    'the broker permits less: raise its transaction.max.timeout.ms to 10000 at least',
    'fatal',
  ],
}

/** Names of the errors that come as codes, or that kafkajs does not know. */
const names: Readonly<Record<number, string>> = {
  1: 'OFFSET_OUT_OF_RANGE',
  3: 'UNKNOWN_TOPIC_OR_PARTITION',
  5: 'LEADER_NOT_AVAILABLE',
  6: 'NOT_LEADER_OR_FOLLOWER',
  7: 'REQUEST_TIMED_OUT',
  9: 'REPLICA_NOT_AVAILABLE',
  10: 'MESSAGE_TOO_LARGE',
  17: 'INVALID_TOPIC_EXCEPTION',
  18: 'RECORD_LIST_TOO_LARGE',
  19: 'NOT_ENOUGH_REPLICAS',
  20: 'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  29: 'TOPIC_AUTHORIZATION_FAILED',
  30: 'GROUP_AUTHORIZATION_FAILED',
  31: 'CLUSTER_AUTHORIZATION_FAILED',
  32: 'INVALID_TIMESTAMP',
  44: 'POLICY_VIOLATION',
  45: 'OUT_OF_ORDER_SEQUENCE_NUMBER',
  47: 'INVALID_PRODUCER_EPOCH',
  48: 'INVALID_TXN_STATE',
  49: 'INVALID_PRODUCER_ID_MAPPING',
  51: 'CONCURRENT_TRANSACTIONS',
  53: 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED',
  56: 'KAFKA_STORAGE_ERROR',
  59: 'UNKNOWN_PRODUCER_ID',
  74: 'FENCED_LEADER_EPOCH',
  75: 'UNKNOWN_LEADER_EPOCH',
  78: 'OFFSET_NOT_AVAILABLE',
  87: 'INVALID_RECORD',
  89: 'THROTTLING_QUOTA_EXCEEDED',
  90: 'PRODUCER_FENCED',
  100: 'UNKNOWN_TOPIC_ID',
  103: 'INCONSISTENT_TOPIC_ID',
  120: 'TRANSACTION_ABORTABLE',
}

/** The error that a broker's reply carries as a code, with its words if it has any. */
export function replyError(log: string, code: number, message?: string): ReflexError {
  return namedError(log, names[code] ?? `ERROR_${code}`, message === undefined ? undefined : new Error(message))
}

/** An error of kafkajs as a `ReflexError` with the code `KAFKA_<name of the broker's error>`, or `KAFKA_CONNECTION`. */
export function kafkaError(log: string, error: unknown): ReflexError {
  if (error instanceof ReflexError) return error
  const { type, cause, originalError, errors } = Object(error) as {
    readonly type?: unknown
    readonly cause?: unknown
    readonly originalError?: unknown
    readonly errors?: readonly unknown[]
  }
  // What was retried, or is not to be, is wrapped; so are the errors of several topics.
  for (const inner of [originalError, cause, errors?.[0]])
    if (inner instanceof Error && inner !== error) return kafkaError(log, inner)
  if (Object(error).name === 'KafkaJSSASLAuthenticationError')
    return namedError(log, 'SASL_AUTHENTICATION_FAILED', error)
  const unknown = /^Unknown error code (\d+)/.exec(messageOf(error))?.[1]
  if (unknown !== undefined) return namedError(log, names[Number(unknown)] ?? `ERROR_${unknown}`, error)
  if (typeof type === 'string') return namedError(log, type, error)
  return new ReflexError(
    'KAFKA_CONNECTION',
    `${log}: no connection to the broker, or no answer in time: ${messageOf(error)}`,
    {
      cause: error,
    },
  )
}

function namedError(log: string, name: string, cause?: unknown): ReflexError {
  const [advice, kind] = replies[name] ?? ['', 'retriable']
  const more = [cause === undefined ? '' : messageOf(cause), advice].filter(Boolean).join('; ')
  return new ReflexError(`KAFKA_${name}`, `${log}: the broker refused: ${name}${more === '' ? '' : ` (${more})`}`, {
    cause,
    kind,
  })
}
