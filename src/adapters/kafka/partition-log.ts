import { systemClock } from '../../core/clock.ts'
import { CursorAheadError, CursorTrimmedError, ReflexError } from '../../core/errors.ts'
import type { KafkaClient } from './kafka-client.ts'
import { connectKafka, type KafkaBroker, type KafkaConnection } from './kafka-connection.ts'
import { replyError } from './kafka-error.ts'
import { type Fetched, fetchRequest, type Isolation, isolationLevels } from './protocol/fetch.ts'
import type { KafkaRequest } from './protocol/request.ts'

/** One partition of a topic, as far as it is read: what `partitionBatches` needs of a log. Offsets are positions: of the next record. */
export interface PartitionLog extends AsyncDisposable {
  /** The topic's id, as Kafka's tools print it. */
  readonly topicId: string
  /** The earliest position, and the one after the last record that can be read: the last stable offset, or the high watermark. */
  bounds(): Promise<PartitionBounds>
  /** The position of the first record of `timestamp` or later; undefined if there is none. */
  offsetAt(timestamp: number): Promise<bigint | undefined>
  /** What follows `offset`; waits a while for it. */
  fetch(options: {
    readonly offset: bigint
    /** The leader epoch of the batch before, or -1. */
    readonly lastEpoch: number
    readonly maxBytes: number
  }): Promise<Fetched>
}

/** Where a partition begins and ends. */
export interface PartitionBounds {
  readonly low: bigint
  readonly high: bigint
}

const EARLIEST = -2
const LATEST = -1
/** So long the broker waits for data (KIP-227's fetch.max.wait.ms, whose default it is). */
const MAX_WAIT_MS = 500
const SIGN_OF_LIFE_MS = 1000

const NOT_LEADER = new Set([6, 74, 75])
const OUT_OF_RANGE = 1
const UNKNOWN_ID = new Set([3, 100, 103])

/** What is read, and how it is named in errors. */
export interface PartitionOptions {
  readonly log: string
  readonly topic: string
  readonly partition: number
  /** Default: `committed`. */
  readonly isolation?: Isolation
  readonly signal?: AbortSignal | undefined
}

/** Opens a partition with connections of its own, which close with it. */
export async function openPartition(kafka: KafkaClient, options: PartitionOptions): Promise<PartitionLog> {
  const connection = await connectKafka(kafka, options)
  try {
    return await partitionOf(connection, options)
  } catch (error) {
    await connection[Symbol.asyncDispose]()
    throw error
  }
}

/** A partition that is read over a connection which its owner closes: closing it does that too. */
export async function partitionOf(
  connection: KafkaConnection,
  { log, topic, partition, isolation = 'committed', signal }: PartitionOptions,
): Promise<PartitionLog> {
  const { id, partitions } = await connection.topic(topic, { leadersOf: [partition] })
  const place = partitions.find((each) => each.partition === partition)
  if (place === undefined) {
    throw new ReflexError(
      'KAFKA_UNKNOWN_TOPIC_OR_PARTITION',
      `${log}: the topic has the partitions 0 to ${partitions.length - 1}, but not ${partition}; one that has just been added is not known to each broker yet`,
    )
  }
  const leader: KafkaBroker = await connection.broker(place.leader)

  const offset = async (timestamp: number): Promise<bigint> => {
    const { responses } = await leader.call((broker) =>
      broker.listOffsets({
        replicaId: -1,
        isolationLevel: isolationLevels[isolation],
        topics: [{ topic, partitions: [{ partition, timestamp }] }],
      }),
    )
    return BigInt(responses[0]?.partitions[0]?.offset ?? -1)
  }
  const closing = new AbortController()
  /** Waits, and sees every second that the broker is still there. */
  const rest = async (ms: number): Promise<void> => {
    const until = signal === undefined ? closing.signal : AbortSignal.any([closing.signal, signal])
    for (let left = ms; left > 0; left -= SIGN_OF_LIFE_MS) {
      await systemClock.sleep(Math.min(left, SIGN_OF_LIFE_MS), until)
      await offset(LATEST)
    }
  }
  /** A broker that holds a client back to its quota replies with nothing, and does not read that connection for so long (KIP-219). */
  const ask = async (request: KafkaRequest<Fetched>): Promise<Fetched> => {
    for (;;) {
      const fetched = await leader.send(request, { forData: true })
      if (fetched.throttleMs === 0 || fetched.batches.length > 0 || fetched.errorCode !== 0) return fetched
      await rest(fetched.throttleMs)
    }
  }
  const topicId = id.toString('base64url')
  return {
    topicId,
    bounds: async () => {
      const low = await offset(EARLIEST)
      const high = await offset(LATEST)
      if (high < low) return { low, high: low } // an open transaction may have begun in what was trimmed
      return { low, high }
    },
    offsetAt: async (timestamp) => {
      const found = await offset(timestamp)
      return found < 0n ? undefined : found
    },
    fetch: async ({ offset, lastEpoch, maxBytes }) => {
      const request = fetchRequest({
        topicId: id,
        partition,
        offset,
        lastEpoch,
        maxBytes,
        maxWaitMs: MAX_WAIT_MS,
        isolation,
      })
      const fetched = await ask(request)
      if (fetched.errorCode === 0 || fetched.errorCode === OUT_OF_RANGE) return fetched
      if (UNKNOWN_ID.has(fetched.errorCode)) {
        const now = await connection.topic(topic, { leadersOf: [partition] })
        if (!now.id.equals(id)) throw recreated(log, offset, topicId, now.id)
      }
      if (NOT_LEADER.has(fetched.errorCode))
        throw new ReflexError(
          'KAFKA_NOT_LEADER_OR_FOLLOWER',
          `${log}: another broker leads the partition now; start again`,
        )
      throw replyError(log, fetched.errorCode)
    },
    [Symbol.asyncDispose]: () => {
      closing.abort()
      return connection[Symbol.asyncDispose]()
    },
  }
}

function recreated(log: string, offset: bigint, topicId: string, now: Buffer): CursorAheadError {
  return new CursorAheadError(log, {
    cursor: `${offset - 1n}@${topicId}`,
    reason: 'recreated',
    found: `topic id ${now.toString('base64url')}`,
  })
}

/** Throws unless the record at the position `offset`, and all that follow it, can still be read. */
export function proveOffset(log: string, offset: bigint, { low, high }: PartitionBounds): void {
  const cursor = String(offset - 1n)
  if (offset < low) throw new CursorTrimmedError(log, { cursor, earliest: String(low) })
  if (offset > high) throw new CursorAheadError(log, { cursor, reason: 'beyond', found: String(high - 1n) })
}
