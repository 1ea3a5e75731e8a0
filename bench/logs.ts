import type { LogKind } from './log-kind.ts'
import { jetstreamLogs } from './logs/jetstream.ts'
import { kafkaLogs } from './logs/kafka.ts'
import { mysqlLogs } from './logs/mysql.ts'
import { redisLogs } from './logs/redis.ts'

/** Every server of logs. */
export const logKinds: readonly LogKind[] = [kafkaLogs, jetstreamLogs, redisLogs, mysqlLogs]
