import { expect, test } from 'vitest'
import { apiError } from '../../src/adapters/jetstream/api-error.ts'
import { natsError } from '../../src/adapters/jetstream/nats-error.ts'
import { kafkaError, replyError } from '../../src/adapters/kafka/kafka-error.ts'
import { explainMysql } from '../../src/adapters/mysql/mysql-error.ts'
import { redisError } from '../../src/adapters/redis/redis-error.ts'
import { explainSqlite } from '../../src/adapters/sqlite/explain-sqlite.ts'
import { codeOf, type ErrorKind, errorKind } from '../../src/core/errors.ts'

// What error-kinds.test.ts does not stage on real servers.

const told = (error: unknown): [string | undefined, ErrorKind] => [codeOf(error), errorKind(error)]

test.each([
  [29, 'KAFKA_TOPIC_AUTHORIZATION_FAILED', 'auth'],
  [30, 'KAFKA_GROUP_AUTHORIZATION_FAILED', 'auth'],
  [31, 'KAFKA_CLUSTER_AUTHORIZATION_FAILED', 'auth'],
  [53, 'KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED', 'auth'],
  [89, 'KAFKA_THROTTLING_QUOTA_EXCEEDED', 'quota'],
  [56, 'KAFKA_KAFKA_STORAGE_ERROR', 'read-only'],
  [47, 'KAFKA_INVALID_PRODUCER_EPOCH', 'fenced'],
  [90, 'KAFKA_PRODUCER_FENCED', 'fenced'],
  [10, 'KAFKA_MESSAGE_TOO_LARGE', 'retriable'], // of a batch: which event it is, if it is one, is found out
  [3, 'KAFKA_UNKNOWN_TOPIC_OR_PARTITION', 'retriable'],
  [19, 'KAFKA_NOT_ENOUGH_REPLICAS', 'retriable'],
  [17, 'KAFKA_INVALID_TOPIC_EXCEPTION', 'fatal'],
  [44, 'KAFKA_POLICY_VIOLATION', 'fatal'],
  [999, 'KAFKA_ERROR_999', 'retriable'],
] as const)('Kafka: the error code %i is %s, %s', (reply, code, kind) => {
  expect(told(replyError('log', reply))).toEqual([code, kind])
})

test('Kafka: a login that is refused is auth, however kafkajs wraps it', () => {
  const refused = Object.assign(new Error('no'), { name: 'KafkaJSSASLAuthenticationError' })
  const wrapped = Object.assign(new Error('gave up'), { cause: refused })
  for (const error of [refused, wrapped])
    expect(told(kafkaError('log', error))).toEqual(['KAFKA_SASL_AUTHENTICATION_FAILED', 'auth'])
})

test.each([
  [10023, 'quota'],
  [10026, 'quota'],
  [10027, 'quota'],
  [10028, 'quota'],
  [10047, 'quota'],
  [10077, 'quota'],
  [10054, 'oversize'],
  [10059, 'retriable'],
  [10039, 'fatal'],
  [10008, 'retriable'],
  [19999, 'retriable'],
] as const)('JetStream: the error %i is %s', (err_code, kind) => {
  expect(told(apiError('log', { code: 400, err_code }))).toEqual([`JETSTREAM_${err_code}`, kind])
})

test.each([
  ["Permissions Violation for Publish to 'x'", 'NATS_NO_PERMISSION', 'auth'],
  ['Authorization Violation', 'NATS_AUTHORIZATION', 'auth'],
  ['User Authentication Expired', 'NATS_AUTHORIZATION', 'auth'],
  ['Maximum Payload Violation', 'NATS_MAX_PAYLOAD', 'oversize'],
  ['maximum connections exceeded', 'NATS_LIMIT', 'quota'],
  ['maximum account active connections exceeded', 'NATS_LIMIT', 'quota'],
  ['no responders', 'NATS_NO_RESPONDERS', 'retriable'],
  ['read ECONNRESET', 'NATS_CONNECTION', 'retriable'],
] as const)('NATS: "%s" is %s, %s', (message, code, kind) => {
  expect(told(natsError('log', new Error(message), 's'))).toEqual([code, kind])
})

test.each([
  ["NOPERM User x has no permissions to run the 'xadd' command", 'NOPERM', 'auth'],
  ['ERR ACL failure in script: User x has no permissions', 'NOPERM', 'auth'],
  ['NOAUTH Authentication required.', 'NOAUTH', 'auth'],
  ['WRONGPASS invalid username-password pair', 'WRONGPASS', 'auth'],
  ['DENIED Redis is running in protected mode', 'DENIED', 'auth'],
  ['ERR AUTH <password> called without any password configured', 'ERR', 'auth'],
  ['ERR max number of clients reached', 'ERR', 'quota'],
  ["OOM command not allowed when used memory > 'maxmemory'.", 'OOM', 'quota'],
  ["READONLY You can't write against a read only replica.", 'READONLY', 'read-only'],
  ['MISCONF Errors writing to the AOF file: No space left on device', 'MISCONF', 'read-only'],
  ['NOREPLICAS Not enough good replicas to write.', 'NOREPLICAS', 'retriable'],
  ['WRONGTYPE Operation against a key', 'WRONGTYPE', 'fatal'],
  ['ERR something else', 'ERR', 'retriable'],
] as const)('Redis: "%s" is %s, %s', (message, word, kind) => {
  expect(told(redisError('log', new Error(message)))).toEqual([`REDIS_${word}`, kind])
})

test.each([
  [1045, 'MYSQL_DENIED', 'auth'],
  [1142, 'MYSQL_DENIED', 'auth'],
  [3118, 'MYSQL_DENIED', 'auth'],
  [1862, 'MYSQL_DENIED', 'auth'],
  [1040, 'MYSQL_LIMIT', 'quota'],
  [1226, 'MYSQL_LIMIT', 'quota'],
  [1114, 'MYSQL_FULL', 'quota'],
  [1290, 'MYSQL_READONLY', 'read-only'],
  [1836, 'MYSQL_READONLY', 'read-only'],
  [1153, 'MYSQL_PACKET_TOO_LARGE', 'oversize'],
  [1146, 'TABLE_MISSING', 'fatal'],
  [1205, undefined, 'retriable'], // a lock, as the client says it
] as const)('MySQL: the error %i is %s, %s', (errno, code, kind) => {
  expect(told(explainMysql(Object.assign(new Error('no'), { errno }), 'log'))).toEqual([code, kind])
})

test.each([
  [5, 'SQLITE_BUSY', 'retriable'],
  [8, 'SQLITE_READONLY', 'read-only'],
  [11, 'SQLITE_CORRUPT', 'fatal'],
  [13, 'SQLITE_FULL', 'quota'],
] as const)('SQLite: the result %i is %s, %s', (errcode, code, kind) => {
  const error = Object.assign(new Error('no'), { code: 'ERR_SQLITE_ERROR', errcode })
  expect(told(explainSqlite(error, 'log'))).toEqual([code, kind])
})
