import type { Appended } from '../../core/appender.ts'
import { systemClock } from '../../core/clock.ts'
import { type NewRecord, sizeOfRecord } from './protocol/new-record-batch.ts'

/** A record that is to be published, and who waits for it. */
export interface Unpublished {
  readonly record: NewRecord
  /** Called just before it leaves. Throws if it is no longer to be sent. */
  send(): void
  resolve(appended: Appended): void
  reject(error: unknown): void
}

/** Sends records, in order, and calls `told` with the number of those that were appended and the offset of the first of them. */
export type SendRecords = (
  records: readonly NewRecord[],
  told: (count: number, first: bigint) => void,
) => Promise<unknown>

/** The records for one partition: what comes while a request is under way goes with the next one. */
export interface PublishLane {
  add(one: Unpublished): void
  /** Sends nothing more; what is added from then on is kept. */
  stop(): void
  /** Takes away what has not been sent, in order. */
  takeUnsent(): readonly Unpublished[]
  /** A request is under way, or about to be. */
  readonly isBusy: boolean
}

/** Options of `publishLane`. */
export interface PublishLaneOptions {
  readonly send: SendRecords
  /** Is told of a request that fails, with those of its records that have not been told of. What it returns of them counts as unsent. Never rejects. */
  failed(error: unknown, records: readonly Unpublished[]): Promise<readonly Unpublished[]>
  /** Called whenever it is no longer busy. */
  idle(): void
}

/** A request stays below what a producer sends at once to a partition. */
const MOST_BYTES = 512 * 1024
const MOST_RECORDS = 5000

/** Makes a lane. It stops by itself when a request fails. */
export function publishLane(partition: number, { send, failed, idle }: PublishLaneOptions): PublishLane {
  let waiting: Unpublished[] = []
  let isBusy = false
  let isStopped = false

  /** Those of the longest waiting that one request can take. */
  function next(): Unpublished[] {
    const batch: Unpublished[] = []
    let bytes = 0
    let taken = 0
    for (const one of waiting) {
      const size = sizeOfRecord(one.record)
      if (batch.length > 0 && (bytes + size > MOST_BYTES || batch.length === MOST_RECORDS)) break
      taken++
      try {
        one.send()
      } catch (error) {
        one.reject(error)
        continue
      }
      batch.push(one)
      bytes += size
    }
    waiting = waiting.slice(taken)
    return batch
  }
  /** It is idle in the same turn in which it finds that nothing waits: what is added after that begins it anew. */
  async function sendAll(): Promise<void> {
    isBusy = true
    while (!isStopped) {
      await systemClock.yield() // those who publish one after the other are there again, and go together
      const batch = isStopped ? [] : next()
      if (batch.length === 0) break
      let appended = 0
      const told = (count: number, first: bigint): void => {
        for (let i = 0; i < count; i++)
          batch[appended++]?.resolve({ id: String(first + BigInt(i)), partition, duplicate: false })
      }
      try {
        await send(
          batch.map(({ record }) => record),
          told,
        )
      } catch (error) {
        isStopped = true
        const left = await failed(error, batch.slice(appended))
        waiting = [...left, ...waiting]
      }
    }
    isBusy = false
    idle()
  }
  return {
    add: (one) => {
      waiting.push(one)
      if (!isBusy && !isStopped) void sendAll()
    },
    stop: () => {
      isStopped = true
    },
    takeUnsent: () => waiting.splice(0),
    get isBusy() {
      return isBusy
    },
  }
}
