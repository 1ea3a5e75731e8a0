import { codeOf } from '../../core/errors.ts'
import { partitionOfKey } from './partition-of-key.ts'
import type { NewRecord } from './protocol/new-record-batch.ts'
import { type PublishLane, publishLane, type SendRecords, type Unpublished } from './publish-lane.ts'

/** A connection with a producer, which is dead after its first error. */
export interface PublishSession extends AsyncDisposable {
  /** How many partitions the topic has. */
  readonly partitions: number
  send(partition: number, ...records: Parameters<SendRecords>): Promise<unknown>
  /** Says more of why a record was refused. Never rejects. */
  explain(error: unknown, record: NewRecord): Promise<unknown>
}

/** Options of `publishQueue`. */
export interface PublishQueueOptions {
  /** Makes a connection; given up when the signal aborts. */
  open(signal: AbortSignal): Promise<PublishSession>
  /** With such a code the broker may not have answered: what waits is not sent by another producer then. */
  isUnknown(code: string): boolean
}

/** What is to be published to one topic, in order for each partition. */
export interface PublishQueue {
  /** Connects if need be. */
  add(one: Unpublished): void
  /** Closes the connection, also one that is still being made, when nobody waits for anything any more. The next record makes another one. */
  close(): void
}

interface Session {
  add(one: Unpublished): void
  close(): void
}

/** It was refused for the size of a record, and the first that was not appended is that one. */
const TOO_LARGE = new Set(['KAFKA_MESSAGE_TOO_LARGE', 'KAFKA_RECORD_LIST_TOO_LARGE'])

/**
 * Makes a queue. When a request fails, what was not sent goes by another producer, but only when no request of the one before is
 * under way, and before what has come since: so no record overtakes another one of its partition.
 */
export function publishQueue({ open, isUnknown }: PublishQueueOptions): PublishQueue {
  let current: Session | undefined

  function session(): Session {
    const unwanted = new AbortController()
    let early: Unpublished[] = []
    let lanes: Pick<Session, 'add'> | undefined
    const opening = (async () => {
      const opened = await open(unwanted.signal)
      lanes = lanesOf(opened, over)
      for (const one of early) lanes.add(one)
      early = []
      return opened
    })()
    const forget = (): void => {
      if (current === made) current = undefined
    }
    const close = (): void => {
      forget()
      unwanted.abort() // one that is still being made, of a broker that does not answer
      opening.then((opened) => opened[Symbol.asyncDispose]()).catch(() => {})
    }
    function over(unsent: readonly Unpublished[]): void {
      const wanted = unwanted.signal.aborted ? [] : unsent // what is closed from outside has nobody who waits
      close()
      for (const one of wanted) add(one)
    }
    opening.catch((error: unknown) => {
      forget()
      for (const one of early) one.reject(error)
    })
    const made: Session = { add: (one) => (lanes === undefined ? early.push(one) : lanes.add(one)), close }
    return made
  }

  /** The lanes of a producer. `over` is called once, when a request has failed and none is under way any more. */
  function lanesOf(
    { partitions, send, explain }: PublishSession,
    over: (unsent: readonly Unpublished[]) => void,
  ): Pick<Session, 'add'> {
    const lanes = new Map<number, PublishLane>()
    let hasFailed = false

    async function failed(error: unknown, records: readonly Unpublished[]): Promise<readonly Unpublished[]> {
      hasFailed = true
      for (const lane of lanes.values()) lane.stop()
      const code = codeOf(error) ?? ''
      const [first, ...others] = records
      if (first !== undefined && TOO_LARGE.has(code)) {
        first.reject(await explain(error, first.record))
        return others
      }
      for (const one of records) one.reject(error)
      if (isUnknown(code)) for (const lane of lanes.values()) for (const one of lane.takeUnsent()) one.reject(error)
      return []
    }
    function idle(): void {
      const all = [...lanes.values()]
      if (hasFailed && all.every(({ isBusy }) => !isBusy)) over(all.flatMap((lane) => lane.takeUnsent()))
    }
    function laneOf(partition: number): PublishLane {
      const there = lanes.get(partition)
      if (there !== undefined) return there
      const lane = publishLane(partition, {
        send: (records, told) => send(partition, records, told),
        failed,
        idle,
      })
      if (hasFailed) lane.stop()
      lanes.set(partition, lane)
      return lane
    }
    return { add: (one) => laneOf(partitionOfKey(one.record.key, partitions)).add(one) }
  }

  function add(one: Unpublished): void {
    current ??= session()
    current.add(one)
  }
  return { add, close: () => current?.close() }
}
