import { systemClock } from '../../core/clock.ts'
import { codeOf, FencedError, isRetriable, ReflexError } from '../../core/errors.ts'
import type { KafkaConnection } from './kafka-connection.ts'
import { replyError } from './kafka-error.ts'
import { type NewRecord, sizeOfRecord } from './protocol/new-record-batch.ts'
import { produceById, produceByIdRequest, produceRequest } from './protocol/produce.ts'

/** Records for one partition. */
export interface PartitionRecords {
  readonly topic: string
  readonly topicId: Buffer
  readonly partition: number
  /** The node id of the partition's leader. */
  readonly leader: number
  readonly records: readonly NewRecord[]
}

/** Where records have come to stand. Those of others may be among them, if there were too many for one request. */
export interface Appended {
  /** The offset of the first. */
  readonly first: bigint
  /** The position after the last. */
  readonly end: bigint
}

/**
 * Appends records with sequence numbers; with a transactional id in transactions, or, between two of them, without: a partition that
 * has seen the end of a transaction of a newer producer of the id refuses those as well. Dead after the first error.
 */
export interface KafkaProducer {
  /** The producer id that the cluster has given it. */
  readonly id: bigint
  /** Whether these brokers, by their node ids, take records without a transaction from a producer with a transactional id. */
  takesAlone(leaders: Iterable<number>): Promise<boolean>
  /** Begins the next transaction: what it will be sent to. Does nothing without a transactional id. */
  begin(partitions: readonly Pick<PartitionRecords, 'topic' | 'partition'>[]): Promise<void>
  /**
   * Appends to all replicas in sync; in the transaction, if one has begun and not ended. Resolves with where, in the order given. `told`
   * hears of what was appended, piece by piece, also before an error: the `count` records that follow those it was told of before, of
   * the batch `i`, stand from `first` on.
   */
  send(
    batches: readonly PartitionRecords[],
    told?: (piece: { readonly i: number; readonly count: number; readonly first: bigint }) => void,
  ): Promise<Appended[]>
  /** Ends the transaction. */
  end(outcome: 'commit' | 'abort'): Promise<void>
  /** Throws a `FencedError` if another producer has taken the transactional id. Changes nothing. */
  checkFenced(): Promise<void>
}

/** The coordinator aborts what a producer that has died left open after this, and what follows it in the log is held back for so long. */
const TRANSACTION_TIMEOUT_MS = 10_000
/** So long after its beginning a transaction may still be held back. */
const MAX_THROTTLE_MS = 8000
/** While it is held back, it sees so often that the broker is still there. */
const SIGN_OF_LIFE_MS = 1000
/** The end of the transaction before is waited for, at most so long. */
const WAIT_MS = 4000
const FIRST_DELAY_MS = 1
const MAX_DELAY_MS = 20
/** A request stays below `max.message.bytes` (1 MiB by default) per partition; if a topic takes less, it is halved. */
const REQUEST_BYTES = 512 * 1024

const busy = new Set([
  'KAFKA_CONCURRENT_TRANSACTIONS',
  'KAFKA_GROUP_LOAD_IN_PROGRESS',
  'KAFKA_COORDINATOR_LOAD_IN_PROGRESS',
])
/** Until the log of transactions is there, which is made for a cluster's first, and until one of its partitions has a leader that knows it. */
const notYetThere = new Set([...busy, 'KAFKA_GROUP_COORDINATOR_NOT_AVAILABLE', 'KAFKA_NOT_COORDINATOR_FOR_GROUP'])
const tooLarge = new Set(['KAFKA_MESSAGE_TOO_LARGE', 'KAFKA_RECORD_LIST_TOO_LARGE'])
const fenced = new Set([
  'KAFKA_INVALID_PRODUCER_EPOCH',
  'KAFKA_PRODUCER_FENCED',
  'KAFKA_INVALID_PRODUCER_ID_MAPPING',
  'KAFKA_TRANSACTION_COORDINATOR_FENCED',
])

/**
 * After a producer id's last epoch its successor gets another id, of which a partition that knows the old one hears nothing: what came
 * without a transaction would not be refused.
 */
const LAST_EPOCHS = 0x7f00

/**
 * Makes a producer. With a transactional id it first fences every other one of that id, and waits until what that one has begun
 * is aborted (initTransactions). While the cluster says that the id has no coordinator yet, as after a broker's start, it asks
 * again for 4 s at most. `where` names the route in errors.
 */
export async function openProducer(
  connection: KafkaConnection,
  { where, transactionalId }: { where: string; transactionalId: string | undefined },
): Promise<KafkaProducer> {
  const init = { transactionalId: transactionalId ?? null, transactionTimeout: TRANSACTION_TIMEOUT_MS }
  const { coordinator, producerId, producerEpoch } = await whileBusy(async () => {
    const coordinator = await (transactionalId === undefined
      ? connection.anyBroker()
      : connection.coordinator(transactionalId))
    return { coordinator, ...(await coordinator.call((broker) => broker.initProducerId(init))) }
  }, notYetThere)
  const identity = { transactionalId, producerId, producerEpoch }
  const sequences = new Map<string, number>()
  /** By node id: until when, by the process's own clock, the broker reads no more records, since a quota is used up (KIP-219). */
  const heldBackUntil = new Map<number, number>()
  let requestBytes = REQUEST_BYTES
  /** The beginning of the transaction. */
  let begun = 0
  let inTransaction = false
  /** Every partition has the end of the transaction before. */
  let settled = true

  /** Tells a fenced producer. */
  async function told<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      if (!fenced.has(codeOf(error) ?? '')) throw error
      throw new FencedError(
        `${where}: another writer has taken this route over, or this one stood still for more than ${TRANSACTION_TIMEOUT_MS / 1000} s; nothing was appended`,
        error,
      )
    }
  }
  /** Waits while a quota holds a broker back. In a transaction not for long in all, since that would be aborted meanwhile. */
  async function untilHeard(leader: number, { inTransaction }: { inTransaction: boolean }): Promise<void> {
    const leftMs = (): number => (heldBackUntil.get(leader) ?? 0) - performance.now()
    if (inTransaction && leftMs() > 0 && performance.now() - begun + leftMs() > MAX_THROTTLE_MS) {
      throw new ReflexError(
        'KAFKA_THROTTLING_QUOTA_EXCEEDED',
        `${where}: the user's quota holds the broker back for ${Math.ceil(leftMs() / 1000)} s more in the middle of a transaction, which may take ${MAX_THROTTLE_MS / 1000} s; nothing was appended. Raise producer_byte_rate, or make the bridge's batches smaller`,
      )
    }
    for (let left = leftMs(); left > 0; left = leftMs()) {
      await systemClock.sleep(Math.min(left, SIGN_OF_LIFE_MS))
      const broker = await connection.broker(leader)
      await broker.call((one) => one.metadata([]))
    }
  }
  /** One request for each leader, with the next records for each of its partitions: one in flight per partition. What is too large for the topic is left out. */
  async function sendRound(round: readonly PartitionRecords[]): Promise<Map<string, bigint>> {
    const offsets = new Map<string, bigint>()
    const requests = Array.from(
      Map.groupBy(round, ({ leader }) => leader),
      async ([leader, batches]) => {
        await untilHeard(leader, { inTransaction })
        const broker = await connection.broker(leader)
        const produce = {
          producerId: BigInt(producerId),
          producerEpoch,
          timeoutMs: WAIT_MS,
          partitions: batches.map((batch) => ({ ...batch, sequence: sequences.get(nameOf(batch)) ?? 0 })),
        }
        const isAlone = transactionalId !== undefined && !inTransaction
        const request = isAlone
          ? produceByIdRequest(produce)
          : produceRequest({ ...produce, transactionalId: transactionalId ?? null })
        // On a connection of their own: what ends the transaction is not held back with them.
        const { produced, throttleMs } = await broker.send(request, { forData: true })
        if (throttleMs > 0) heldBackUntil.set(leader, performance.now() + throttleMs)
        for (const { errorCode, message, baseOffset, ...place } of produced) {
          const error = errorCode === 0 ? undefined : replyError(where, errorCode, message)
          const alone = round.find((batch) => nameOf(batch) === nameOf(place))?.records.length === 1
          if (error === undefined) offsets.set(nameOf(place), baseOffset)
          else if (alone || !tooLarge.has(error.code)) throw error
        }
      },
    )
    // All of them: one that is still under way when the transaction is aborted would begin another.
    for (const outcome of await Promise.allSettled(requests)) if (outcome.status === 'rejected') throw outcome.reason
    return offsets
  }

  /** Committing again what has been committed is success once its end stands everywhere, and the epoch is looked at first. */
  const commitAgain = (): Promise<unknown> =>
    told(whileBusy(() => coordinator.call((broker) => broker.endTxn({ ...identity, transactionResult: true }))))

  return {
    id: BigInt(producerId),
    takesAlone: async (leaders) => {
      const { apiKey, apiVersion } = produceById
      for (const leader of leaders) {
        const broker = await connection.broker(leader)
        const newest = await broker.call(async ({ versions }) => versions?.[apiKey]?.maxVersion ?? 0)
        if (newest < apiVersion) return false
      }
      return producerEpoch < LAST_EPOCHS
    },
    begin: async (partitions) => {
      if (transactionalId === undefined) return
      inTransaction = true
      for (const leader of heldBackUntil.keys()) await untilHeard(leader, { inTransaction: false })
      const topics = Array.from(
        Map.groupBy(partitions, ({ topic }) => topic),
        ([topic, ofTopic]) => ({
          topic,
          partitions: ofTopic.map(({ partition }) => partition),
        }),
      )
      begun = performance.now()
      const add = (some: typeof topics): Promise<unknown> =>
        told(whileBusy(() => coordinator.call((broker) => broker.addPartitionsToTxn({ ...identity, topics: some }))))
      try {
        await add(topics)
      } catch (error) {
        if (codeOf(error) !== 'KAFKA_OPERATION_NOT_ATTEMPTED') throw error
        for (const topic of topics) await add([topic]) // it is said of those that are not to blame
      }
    },
    send: async (batches, tell) => {
      if (!inTransaction && !settled) {
        await commitAgain() // a partition refuses what is not part of a transaction that it has no end of
        settled = true
      }
      const places = batches.map((batch) => ({ batch, name: nameOf(batch), done: 0, first: -1n, end: -1n }))
      for (;;) {
        const next = places.filter(({ batch, done }) => done < batch.records.length)
        if (next.length === 0) return places.map(({ first, end }) => ({ first, end }))
        const round = next.map(({ batch, done }) => ({ ...batch, records: upTo(requestBytes, batch.records, done) }))
        const offsets = await told(sendRound(round))
        for (const [i, place] of next.entries()) {
          const offset = offsets.get(place.name)
          const { length } = round[i]?.records ?? []
          if (offset === undefined) continue
          if (place.done === 0) place.first = offset
          place.done += length
          place.end = offset + BigInt(length)
          tell?.({ i: places.indexOf(place), count: length, first: offset })
          sequences.set(place.name, sequenceAfter(sequences.get(place.name) ?? 0, length))
        }
        if (offsets.size < round.length) requestBytes /= 2
      }
    },
    end: async (outcome) => {
      if (transactionalId === undefined) return
      inTransaction = false
      settled = false
      const transactionResult = outcome === 'commit'
      await told(coordinator.call((broker) => broker.endTxn({ ...identity, transactionResult })))
    },
    checkFenced: async () => {
      if (transactionalId === undefined) return
      try {
        await commitAgain()
      } catch (error) {
        if (codeOf(error) !== 'KAFKA_INVALID_TXN_STATE') throw error // there has been none yet
      }
    },
  }
}

/** Asks again while the broker says that it cannot answer yet, as while the transaction before is being ended: soon over. */
async function whileBusy<T>(ask: () => Promise<T>, waitedFor: ReadonlySet<string> = busy): Promise<T> {
  const until = performance.now() + WAIT_MS
  for (let delay = FIRST_DELAY_MS; ; delay = Math.min(delay * 2, MAX_DELAY_MS)) {
    try {
      return await ask()
    } catch (error) {
      if (!waitedFor.has(codeOf(error) ?? '') || !isRetriable(error) || performance.now() > until) throw error
    }
    await systemClock.sleep(delay)
  }
}

/** Of the records from `start` on those that one request can take. One that is larger goes alone: whether the broker takes it is up to the topic. */
function upTo(maxBytes: number, records: readonly NewRecord[], start: number): readonly NewRecord[] {
  let end = start
  for (let bytes = 0; end < records.length; end++) {
    bytes += sizeOfRecord(records[end] as NewRecord)
    if (bytes > maxBytes && end > start) break
  }
  return records.slice(start, end)
}

function sequenceAfter(sequence: number, records: number): number {
  const next = sequence + records
  return next > 0x7fff_ffff ? next - 0x8000_0000 : next
}

function nameOf({ topic, partition }: { topic: string; partition: number }): string {
  return `${topic}/${partition}`
}
