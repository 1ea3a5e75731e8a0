import { untilAborted } from '../../core/abort.ts'
import { systemClock } from '../../core/clock.ts'
import { codeOf, messageOf, OptionError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { Observer } from '../../core/observer.ts'
import { checkKafkaClient, type KafkaClient } from './kafka-client.ts'
import { connectKafka, type KafkaBroker, type KafkaConnection } from './kafka-connection.ts'
import { replyError } from './kafka-error.ts'
import { parseOffset } from './offset-cursor.ts'
import { consumerGroupDescribe, consumerGroupStateRequest } from './protocol/consumer-group-describe.ts'

/** Options of `kafkaGroupOffsets`. */
export interface GroupOffsetsOptions {
  /** The consumer group under which the offsets are shown. It must have no members. */
  readonly group: string
  /** The topic that is read. */
  readonly topic: string
  /** Is told why offsets cannot be shown at the moment, once until they can be again. Must not throw. Default: nobody. */
  readonly note?: ((text: string) => void) | undefined
  /** Ends the opening. */
  readonly signal?: AbortSignal | undefined
}

/** Shows what has been consumed as the offsets of a consumer group. */
export interface GroupOffsets extends AsyncDisposable {
  /** The observer of a partition; the one of `undefined`, the topic as a whole, does nothing: `combineObservers` adds one that is told of failures. */
  observer(partition: number | undefined): Observer
}

/** At most so often a commit is sent. */
const EVERY_MS = 1000
/** So long it waits after one that failed. */
const AFTER_FAILURE_MS = 5000
/** What is outstanding at the end has so long to be committed. */
const CLOSE_WITHIN_MS = 2000

/**
 * Mirrors saved cursors as the offsets of a consumer group, so that Kafka's own tools show a consumer and its lag:
 * `kafka-consumer-groups --describe --group mailer`. Best effort: a commit of what was saved last follows at most once a second,
 * never delays a run or fails it, and connects anew after a failure; what is outstanding when it is closed has 2 s. The
 * cursors stay where they are: the offsets are never read, since they expire, and anyone may set them back.
 *
 * Rejects with an `OptionError` if a group of that name has members; one that appears later is noted, and Kafka refuses the commits
 * as long as it lives. Where there are ACLs, it needs `Read` on the group and on the topic.
 *
 * @example
 * await using group = await kafkaGroupOffsets(kafka, { group: 'mailer', topic: 'orders', note: console.warn })
 * await orders.run({ cursors, consumer }, { observer: group.observer, signal })
 */
export async function kafkaGroupOffsets(
  kafka: KafkaClient,
  { group, topic, note, signal }: GroupOffsetsOptions,
): Promise<GroupOffsets> {
  checkKafkaClient(kafka)
  for (const [option, text] of Object.entries({ group, topic })) {
    if (typeof text !== 'string' || text === '')
      throw new OptionError(`kafka: ${option} must be a string that is not empty, but is ${JSON.stringify(text)}`)
  }
  const log = `kafka group ${JSON.stringify(group)}`
  const pending = new Map<number, Cursor>()
  const resting = new AbortController()
  const ending = new AbortController()
  let noted: string | undefined
  let open: { readonly connection: KafkaConnection; readonly coordinator: KafkaBroker } | undefined
  let working: Promise<void> | undefined
  let closing: Promise<void> | undefined

  async function connected(): Promise<KafkaBroker> {
    if (open?.coordinator.isConnected()) return open.coordinator
    await disconnect() // the broker closes idle connections
    const connection = await connectKafka(kafka, { log, topic, signal: ending.signal })
    try {
      const coordinator = await connection.groupCoordinator(group)
      ending.signal.throwIfAborted()
      open = { connection, coordinator }
      return coordinator
    } catch (error) {
      await connection[Symbol.asyncDispose]()
      throw error
    }
  }
  /** The coordinator of a group that has no members. */
  async function coordinatorOfNone(): Promise<KafkaBroker> {
    const coordinator = await connected()
    if (await hasMembers(coordinator, log, group))
      throw new OptionError(
        `${log}: expected a group without members, under which offsets can be shown, but it has some: choose a name that no consumer group has`,
      )
    return coordinator
  }
  async function disconnect(): Promise<void> {
    const { connection } = open ?? {}
    open = undefined
    await connection?.[Symbol.asyncDispose]()
  }
  function tell(error: unknown): void {
    const text = `${log}: the offsets cannot be shown at the moment: ${messageOf(error)}`
    if (text !== noted) note?.(text)
    noted = text
  }

  /** Commits what is pending; false if it could not. */
  async function commit(): Promise<boolean> {
    const sent = [...pending]
    pending.clear()
    try {
      const partitions = sent.map(([partition, cursor]) => {
        const topicId = cursor.slice(cursor.lastIndexOf('@') + 1)
        const offset = parseOffset(`${log}, partition ${partition}`, cursor, topicId) ?? -1n
        return { partition, offset: String(offset + 1n) } // that of the next record, as Kafka's consumers commit it
      })
      const coordinator = await coordinatorOfNone()
      const member = { groupGenerationId: -1, memberId: '' } // none
      await coordinator.call((broker) =>
        broker.offsetCommit({ groupId: group, ...member, topics: [{ topic, partitions }] }),
      )
      noted = undefined
      return true
    } catch (error) {
      for (const [partition, cursor] of sent) if (!pending.has(partition)) pending.set(partition, cursor)
      await disconnect()
      tell(error)
      return false
    }
  }
  async function work(): Promise<void> {
    try {
      do await systemClock.sleep((await commit()) ? EVERY_MS : AFTER_FAILURE_MS, resting.signal)
      while (pending.size > 0)
    } catch {
      // It is being closed.
    } finally {
      working = undefined
    }
  }
  function show(partition: number, cursor: Cursor): void {
    if (cursor === '' || closing !== undefined) return
    pending.set(partition, cursor)
    working ??= work()
  }
  async function close(): Promise<void> {
    resting.abort()
    const last = (async () => {
      await working
      if (pending.size > 0) await commit()
    })()
    const timer = setTimeout(() => ending.abort(new Error('it is being closed')), CLOSE_WITHIN_MS)
    await last
    clearTimeout(timer)
    await disconnect()
  }

  const offsets: GroupOffsets = {
    observer: (partition) =>
      partition === undefined
        ? {}
        : { opened: ({ cursor }) => show(partition, cursor), saved: (cursor) => show(partition, cursor) },
    [Symbol.asyncDispose]: () => {
      closing ??= close()
      return closing
    },
  }
  try {
    await untilAborted(coordinatorOfNone(), signal)
  } catch (error) {
    if (!signal?.aborted && codeOf(error) !== 'OPTION_INVALID') {
      tell(error)
      return offsets
    }
    ending.abort(error)
    await offsets[Symbol.asyncDispose]()
    throw error
  }
  return offsets
}

const NOT_FOUND = 69

async function hasMembers(coordinator: KafkaBroker, log: string, group: string): Promise<boolean> {
  const { groups } = await coordinator.call((broker) => broker.describeGroups({ groupIds: [group] }))
  const state = groups[0]?.state
  if (state !== 'Dead') return state !== 'Empty'
  // So a group of KIP-848 looks to that request, too.
  const isKnown = await coordinator.call(async ({ versions }) => versions?.[consumerGroupDescribe.apiKey] !== undefined)
  if (!isKnown) return false
  const found = await coordinator.send(consumerGroupStateRequest(group))
  if (found.errorCode === NOT_FOUND) return false
  if (found.errorCode !== 0) throw replyError(log, found.errorCode)
  return found.state !== 'Empty' && found.state !== 'Dead'
}
