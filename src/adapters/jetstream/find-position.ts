import type { Delivery } from './codec.ts'
import type { JetStreamConnection } from './nats-connection.ts'
import { consumerStalled, STALLED_AFTER } from './nats-error.ts'
import { nextMessage } from './next-message.ts'
import type { PullConsumer } from './pull-consumer.ts'
import { keepsItsPlace } from './server-version.ts'
import { streamInfo } from './stream-info.ts'

/** What is looked for. */
export interface PositionOptions {
  readonly log: string
  readonly stream: string
  /** Which ones `consumer` delivers; undefined for all. */
  readonly subjects: readonly string[] | undefined
  /** No message that was stored before is looked at: epoch ms. */
  readonly timestamp: number
  isAfter(delivery: Delivery): boolean
}

/**
 * The position before the first message that `isAfter`, or the end of the stream if there is none. Silence is no end: only the
 * stream itself can say that it has nothing more. Rejects with `NATS_CONSUMER_STALLED` if it has, and that does not come.
 */
export async function findPosition(
  connection: JetStreamConnection,
  consumer: PullConsumer,
  { log, stream, subjects, timestamp, isAfter }: PositionOptions,
): Promise<bigint> {
  let { after } = await consumer.start({ time: new Date(Math.floor(timestamp)).toISOString() })
  const { last } = await streamInfo(connection, stream)
  const isComplete = keepsItsPlace(connection.version)
  for (let stalled = 0; ; ) {
    const deliveries = await consumer.take({ eager: true })
    let missed: bigint | undefined
    for (const delivery of deliveries) {
      const { seq } = delivery
      if (seq > after + 1n && !isComplete) missed = await nextMessage(connection, { stream, subjects }, after + 1n)
      if (missed !== undefined && missed < seq) break
      missed = undefined
      if (seq > last) return last
      if (isAfter(delivery)) return seq - 1n
      after = seq
      stalled = 0
    }
    if (deliveries.length === 0) missed = await nextMessage(connection, { stream, subjects }, after + 1n)
    if (missed === undefined && deliveries.length > 0) continue
    if (missed === undefined || missed > last) return last
    stalled++
    if (stalled === STALLED_AFTER) throw consumerStalled(log, missed)
    await consumer.start({ seq: after + 1n })
  }
}
