import { OptionError } from '../../core/errors.ts'

/** What is needed of a client, kafkajs's `Kafka` (2.2.4). It only makes connections; no consumer group is ever joined. */
export interface KafkaClient {
  consumer(options: {
    readonly groupId: string
    readonly allowAutoTopicCreation: false
    readonly partitionAssigners: ((context: { cluster: unknown }) => never)[]
  }): unknown
}

/**
 * The options of a client that does not retry for long, and notices a frozen broker: `new Kafka({ brokers, ...kafkaFailFast })`.
 * One place, `supervise`, starts again after a failure. A connection is given 1 s, a request 3 s.
 */
export const kafkaFailFast: {
  readonly connectionTimeout: number
  readonly requestTimeout: number
  readonly retry: {
    readonly retries: number
    readonly initialRetryTime: number
    readonly maxRetryTime: number
  }
  /** kafkajs's `logLevel.NOTHING`: what goes wrong is an error here. */
  readonly logLevel: 0
} = {
  connectionTimeout: 1000,
  requestTimeout: 3000,
  retry: { retries: 1, initialRetryTime: 50, maxRetryTime: 100 },
  logLevel: 0,
}

const MAX_RETRIES = 2
const MAX_RETRY_MS = 500
const MAX_REQUEST_MS = 4000

/** Throws an `OptionError` that names every option by which the client would retry by itself, or wait for too long (rule 3). */
export function checkKafkaClient(kafka: KafkaClient, requestTimeoutMs?: number): void {
  const wrong = [
    retriesSoon(kafka) ? '' : 'retry',
    requestTimeoutMs === undefined || requestTimeoutMs <= MAX_REQUEST_MS ? '' : 'requestTimeout',
  ].filter(Boolean)
  if (wrong.length === 0) return
  throw new OptionError(
    `kafka: this client retries by itself or waits for long (${wrong.join(', ')}), which would hide a dead broker; make it with new Kafka({ brokers, ...kafkaFailFast })`,
  )
}

/** kafkajs keeps the option under a symbol. */
function retriesSoon(kafka: KafkaClient): boolean {
  const symbol = Object.getOwnPropertySymbols(kafka).find(({ description }) => description?.endsWith(':clusterRetry'))
  if (symbol === undefined)
    throw new OptionError('kafka: expected a Kafka of kafkajs 2.2.4, but this is another kind of client')
  const retry = (kafka as unknown as Record<symbol, { retries?: number; initialRetryTime?: number } | undefined>)[
    symbol
  ]
  const { retries = Number.POSITIVE_INFINITY, initialRetryTime = 300 } = retry ?? {}
  return retries <= MAX_RETRIES && initialRetryTime <= MAX_RETRY_MS
}
