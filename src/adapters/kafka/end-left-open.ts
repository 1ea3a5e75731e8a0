import { systemClock } from '../../core/clock.ts'
import { ReflexError } from '../../core/errors.ts'
import type { KafkaProducer } from './kafka-producer.ts'
import type { PartitionBounds } from './partition-log.ts'
import { hasEnd, type TailLog } from './read-tail.ts'
import { type Place, partitionAt } from './route-checkpoint.ts'

/** Markers are written after the coordinator has answered, mostly at once. */
const WAIT_MS = 4000
const FIRST_DELAY_MS = 1
const MAX_DELAY_MS = 20

/** What `endLeftOpen` needs. */
export interface LeftOpen {
  /** Names the route in errors. */
  readonly where: string
  readonly producer: KafkaProducer
  /** Every partition that the route may have written to, also that of its checkpoints. */
  readonly tails: ReadonlyMap<Place, TailLog>
  /** Where each of them ends now, without regard to open transactions. */
  bounds(): Promise<ReadonlyMap<Place, PartitionBounds>>
}

/**
 * Ends what was left without an end: records whose transaction has lost it, or never got it. A coordinator leaves it out of a
 * partition that has no leader just then, also of a transaction that it has confirmed. Such records hold consumers up, and the end of
 * the route's next transaction would be theirs. So an empty transaction over all partitions is aborted; resolves when its end stands
 * in each of them, and throws if it does not within 4 s.
 */
export async function endLeftOpen({ where, producer, tails, bounds }: LeftOpen): Promise<void> {
  const before = await bounds()
  await producer.begin(Array.from(tails.keys(), partitionAt))
  await producer.end('abort')
  const left = new Map(tails)
  const until = performance.now() + WAIT_MS
  for (let delay = FIRST_DELAY_MS; ; delay = Math.min(delay * 2, MAX_DELAY_MS)) {
    const now = await bounds()
    for (const [place, tail] of left) {
      const [from, to] = [before.get(place)?.high ?? 0n, now.get(place)?.high ?? 0n]
      if (await hasEnd(where, tail, { from, to, producerId: producer.id })) left.delete(place)
    }
    if (left.size === 0) return
    if (performance.now() > until) {
      throw new ReflexError(
        'KAFKA_TRANSACTION_WITHOUT_END',
        `${where}: Kafka has not written the end of a transaction to ${[...left.keys()].join(', ')} within ${WAIT_MS / 1000} s; nothing was appended. ` +
          'It is tried again; if it stays so, see whether those partitions have a leader: kafka-topics.sh --describe',
      )
    }
    await systemClock.sleep(delay)
  }
}
