import { messageOf, ReflexError } from '../../core/errors.ts'

/** What to do about an error of a broker, by its name, and whether waiting can help. */
const replies: Readonly<Record<string, readonly [advice: string, retriable: boolean]>> = {
  // Also what a broker says of a topic that it has not heard of yet, after its creation or its own start.
  UNKNOWN_TOPIC_OR_PARTITION: ['there is no such topic or partition: create it, or correct its name', true],
  UNKNOWN_TOPIC_ID: ['the topic was deleted', true],
  LEADER_NOT_AVAILABLE: [
    'none of the brokers that hold the partition and were in sync is alive: start one, or wait for the election',
    true,
  ],
  INVALID_TOPIC_EXCEPTION: ['this cannot be the name of a topic', false],
  TOPIC_AUTHORIZATION_FAILED: ["the user's ACLs do not permit it: grant the operation on the topic", false],
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: [
    "the user's ACLs do not permit it: grant Write and Describe on the transactional id",
    false,
  ],
  CLUSTER_AUTHORIZATION_FAILED: ["the user's ACLs do not permit it: grant IdempotentWrite on the cluster", false],
  SASL_AUTHENTICATION_FAILED: ['the user name or password is wrong', false],
  NOT_ENOUGH_REPLICAS: ['fewer replicas are in sync than min.insync.replicas asks for', true],
  NOT_ENOUGH_REPLICAS_AFTER_APPEND: ['fewer replicas are in sync than min.insync.replicas asks for', true],
  CONCURRENT_TRANSACTIONS: [
    'the transaction before is still being ended; if that lasts, a partition of it has too few replicas in sync, or no leader',
    true,
  ],
  MESSAGE_TOO_LARGE: ['a record is larger than max.message.bytes of its topic: raise it', true],
  KAFKA_STORAGE_ERROR: ['the broker cannot write its data to disk: read its log, and free space', true],
  UNSUPPORTED_VERSION: ['the broker is too old: Kafka 3.1 or newer is needed', false],
  INVALID_TIMESTAMP: [
    "this machine's clock is further ahead of the broker's than message.timestamp.after.max.ms permits: set it right",
    true,
  ],
  UNSUPPORTED_COMPRESSION_TYPE: ['choose another compression', false],
  POLICY_VIOLATION: ['a policy of the cluster forbids it', false],
  INVALID_TRANSACTION_TIMEOUT: [
    'the broker permits less: raise its transaction.max.timeout.ms to 10000 at least',
    false,
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
  const [advice, retriable] = replies[name] ?? ['', true]
  const more = [cause === undefined ? '' : messageOf(cause), advice].filter(Boolean).join('; ')
  return new ReflexError(`KAFKA_${name}`, `${log}: the broker refused: ${name}${more === '' ? '' : ` (${more})`}`, {
    cause,
    retriable,
  })
}
