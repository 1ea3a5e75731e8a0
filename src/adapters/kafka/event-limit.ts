import { codeOf, ReflexError } from '../../core/errors.ts'
import { wireNames } from '../../core/wire.ts'
import type { KafkaConnection } from './kafka-connection.ts'
import { type NewRecord, sizeOfBatch, sizeOfRecord, writeRecordBatch } from './protocol/new-record-batch.ts'
import { topicSettings } from './topic-settings.ts'

/** How large an event a topic takes. */
export interface EventLimit {
  /** Throws `EVENT_TOO_LARGE` if one of the records is too large for the topic, as it is set now. */
  check(batches: Iterable<Records>): Promise<void>
  /** `EVENT_TOO_LARGE`, with the largest of the records, if `error` is the broker's refusal of it; else, or if that cannot be told, `error`. Never rejects. */
  explain(error: unknown, batches: Iterable<Records>): Promise<unknown>
}

interface Records {
  readonly records: readonly NewRecord[]
}

/** The lower one of `max.message.bytes` and `segment.bytes`. */
interface Limit {
  readonly setting: string
  readonly bytes: number
}

/** What a batch of one record has besides it. */
const BATCH_OVERHEAD = 61

/** Reads the limit of `topic`. If that is not permitted, only the broker refuses. `where` names the route in errors. */
export async function eventLimit(
  connection: KafkaConnection,
  { where, topic }: { where: string; topic: string },
): Promise<EventLimit> {
  async function read(): Promise<Limit | undefined> {
    const settings = await topicSettings(await connection.anyBroker(), topic)
    const limits = ['max.message.bytes', 'segment.bytes'].flatMap((setting): Limit[] => {
      const value = settings?.[setting]
      return value === undefined ? [] : [{ setting, bytes: Number(value) }]
    })
    return limits.sort((a, b) => a.bytes - b.bytes)[0]
  }
  function tooLarge(record: NewRecord, limit: Limit | undefined, cause?: unknown): ReflexError {
    const id = record.headers[record.headers.indexOf(wireNames.sourceId) + 1]
    const most = limit === undefined ? 'max.message.bytes of the topic' : `the ${limit.bytes} of ${limit.setting}`
    return new ReflexError(
      'EVENT_TOO_LARGE',
      `${where}: the event ${id} makes a batch of ${sizeAlone(record)} bytes, more than ${most}; raise that for the topic ${topic}, or shorten the event`,
      { cause, kind: 'oversize', eventId: id },
    )
  }

  let known = await read()
  return {
    check: async (batches) => {
      if (known === undefined || firstAbove(known.bytes, batches) === undefined) return
      known = await read() // it may have been raised since
      const record = known && firstAbove(known.bytes, batches)
      if (record !== undefined) throw tooLarge(record, known)
    },
    explain: async (error, batches) => {
      if (!['KAFKA_MESSAGE_TOO_LARGE', 'KAFKA_RECORD_LIST_TOO_LARGE'].includes(codeOf(error) ?? '')) return error
      const records = Array.from(batches, (batch) => batch.records).flat()
      const [largest] = records.sort((a, b) => sizeOfRecord(b) - sizeOfRecord(a))
      if (largest === undefined) return error
      try {
        const limit = await read()
        return limit === undefined || sizeAlone(largest) > limit.bytes ? tooLarge(largest, limit, error) : error
      } catch {
        return error
      }
    },
  }
}

function firstAbove(bytes: number, batches: Iterable<Records>): NewRecord | undefined {
  for (const { records } of batches)
    for (const record of records)
      if (sizeOfRecord(record) + BATCH_OVERHEAD > bytes && sizeAlone(record) > bytes) return record
  return undefined
}

/** Exactly what the broker holds against its limit: an event goes alone if it has to. */
function sizeAlone(record: NewRecord): number {
  const producer = { producerId: 0n, producerEpoch: 0, transactional: true, sequence: 0 }
  return writeRecordBatch(Buffer.allocUnsafe(sizeOfBatch([record])), 0, [record], producer, 0)
}
