import { systemClock } from '../../core/clock.ts'
import type { Consumer } from '../../core/consumer.ts'
import type { CursorStore } from '../../core/cursor.ts'
import { CursorAheadError, codeOf, messageOf, OptionError, ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { Observer } from '../../core/observer.ts'
import { type Ended, type RunOptions, run } from '../../core/run.ts'
import type { Source, StreamFunc } from '../../core/stream.ts'
import { type AttemptOptions, type SuperviseOptions, supervise } from '../../core/supervise.ts'
import type { KafkaConnection } from './kafka-connection.ts'
import type { PartitionBounds } from './partition-log.ts'
import { topicBounds } from './topic-bounds.ts'
import { type TopicCursors, topicCursors } from './topic-cursors.ts'

/** Who consumes a topic, and where the cursors are kept. */
export interface TopicSpec {
  readonly cursors: CursorStore
  /**
   * Makes the consumer of a partition, once for each; all have the same name. Each has a `start`, `stop` and `settled` of its own:
   * those of different partitions are called independently of each other, as is `handle`.
   */
  consumer(partition: number): Consumer
}

/** Options of a topic's `run`: those of `run` and of `supervise`, for each partition. */
export interface TopicRunOptions
  extends Omit<RunOptions, 'observer'>,
    Pick<SuperviseOptions, 'graceMs' | 'minDelayMs' | 'maxDelayMs' | 'random'> {
  /** How often partitions that have been added are looked for, and cursors that have been reset. In ms, default 10,000. */
  readonly partitionsEveryMs?: number | undefined
  /**
   * Gives the observer of a partition; and that of the topic as a whole, `undefined`, which is told what fails when the
   * partitions are looked for, and of each partition that has failed for good. Called once for each. Default: nobody.
   */
  readonly observer?: ((partition: number | undefined) => Observer) | undefined
}

/** The topic that is run. */
export interface RunnableTopic {
  readonly log: string
  readonly topic: string
  connect(signal: AbortSignal | undefined): Promise<KafkaConnection>
  partitionOf(partition: number): Pick<Source, 'stream'>
}

/** A partition that is not read any more. */
interface Failure {
  readonly error: unknown
  /** The cursor it has failed with; undefined if it had not been read. */
  readonly cursor: Cursor | undefined
}

/** See `KafkaTopic.run`. */
export async function runTopic(
  { log, topic, connect, partitionOf }: RunnableTopic,
  { cursors, consumer }: TopicSpec,
  options: TopicRunOptions,
): Promise<Ended> {
  const { toHead = false, fromHead = false, delayMs, clock = systemClock, partitionsEveryMs = 10_000 } = options
  const { graceMs, minDelayMs, maxDelayMs, random, observer } = options
  if (!(partitionsEveryMs > 0))
    throw new OptionError(`${log}: partitionsEveryMs must be more than 0 milliseconds, but is ${partitionsEveryMs}`)
  const ending = new AbortController()
  const signal = options.signal === undefined ? ending.signal : AbortSignal.any([options.signal, ending.signal])
  const supervision = { signal, graceMs, minDelayMs, maxDelayMs, clock, random }

  const whole = observer?.(undefined) ?? {}
  const consumers: Consumer[] = []
  const observers: (Observer | undefined)[] = []
  let started = 0
  const running = new Map<number, Promise<void>>()
  const failures = new Map<number, Failure>()
  let topicId: string | undefined
  let names: TopicCursors | undefined
  let failed: { readonly error: unknown } | undefined // what ends the whole
  let isAborted = false
  let lateError: unknown

  const end = (error: unknown): void => {
    failed ??= { error }
    ending.abort(error)
  }
  const ended = ({ reason, error }: Ended): void => {
    isAborted ||= reason === 'aborted'
    lateError ??= error
  }

  /** The consumer of a partition, made when it is first seen. */
  function consumerOf(partition: number): Consumer {
    const made = consumer(partition)
    const { name } = consumers[0] ?? made
    if (typeof made.name !== 'string' || made.name === '' || made.name !== name)
      throw new OptionError(
        `${log}: the consumers of all partitions need the same name, but ${partition} has ${JSON.stringify(made.name)}, and 0 ${JSON.stringify(name)}`,
      )
    if (typeof made.handle !== 'function')
      throw new OptionError(`${log}: the consumer of partition ${partition} needs a function handle`)
    return made
  }

  function start(partition: number, of: TopicCursors, id: string): void {
    let cursor: Cursor | undefined
    const tracked: CursorStore = {
      get: async (name, o) => {
        const stored = await cursors.get(name, o)
        cursor = stored
        return stored
      },
      set: async (name, next, expected) => {
        await cursors.set(name, next, expected)
        cursor = next
      },
      reset: (name, next) => cursors.reset(name, next),
    }
    const spec = {
      stream: streamOfTopic(log, id, partitionOf(partition).stream),
      cursors: tracked,
      consumer: renamed(consumers[partition] as Consumer, of.nameOf(partition)),
    }
    const attempt = (o: AttemptOptions): Promise<Ended> => run(spec, { ...o, toHead, delayMs })
    const work = supervise(attempt, { ...supervision, observer: observers[partition] })
    const settled = work.then(ended, (error) => {
      if (concernsAll(error)) return end(error)
      failures.set(partition, { error, cursor })
      whole.failed?.(partitionsFailed(log, new Map([[partition, { error }]])))
    })
    running.set(
      partition,
      settled.then(() => {
        running.delete(partition)
        if (running.size === 0 && !toHead) ending.abort() // nothing is left
      }),
    )
  }

  /** Starts what is to be started now. */
  async function look(connection: KafkaConnection): Promise<void> {
    const { id, partitions } = await connection.topic(topic, { leadersOf: [] })
    const found = id.toString('base64url')
    if (topicId !== undefined && topicId !== found)
      throw new CursorAheadError(log, { cursor: `@${topicId}`, reason: 'recreated', found: `topic id ${found}` })
    const isFirst = topicId === undefined
    for (let each = consumers.length; each < partitions.length; each++) {
      const made = { consumer: consumerOf(each), observer: observer?.(each) } // both, or neither if one throws
      consumers.push(made.consumer)
      observers.push(made.observer)
    }
    names ??= topicCursors({ log, topic, cursors, consumer: consumers[0]?.name ?? '' })
    if (isFirst || (fromHead && started < consumers.length)) {
      const stored = await names.all({ id: found, partitions: consumers.length, signal })
      const bounds = async (): Promise<readonly PartitionBounds[]> =>
        (await topicBounds(connection, { log, topic })).partitions
      if (fromHead) await names.pin(stored, { id: found, started, bounds, signal })
      topicId = found
    }
    for (let each = started; each < consumers.length; each++) start(each, names, found)
    started = consumers.length
    for (const [partition, { cursor }] of failures) {
      if (cursor === undefined || (await names.get(partition, { signal })) === cursor) continue
      failures.delete(partition)
      start(partition, names, found)
    }
  }

  async function lookAgainAndAgain({ observer }: AttemptOptions): Promise<Ended> {
    try {
      await using connection = await connect(signal)
      for (;;) {
        await look(connection)
        observer.saved?.('') // is progress, of which nobody else is told
        if (toHead) return { reason: 'head' }
        await clock.sleep(partitionsEveryMs, signal)
      }
    } catch (error) {
      if (signal.aborted) return { reason: 'aborted' }
      whole.failed?.(error)
      throw error
    }
  }

  const restarting: Observer['restarting'] = (after) => whole.restarting?.(after)
  try {
    ended(await supervise(lookAgainAndAgain, { ...supervision, observer: { restarting } }))
  } catch (error) {
    end(error)
  }
  await Promise.all(running.values())
  if (failed !== undefined) throw failed.error
  if (failures.size > 0) throw partitionsFailed(log, failures)
  return { reason: isAborted ? 'aborted' : 'head', ...(lateError === undefined ? {} : { error: lateError }) }
}

/** Neither another runner nor another topic is there for one partition alone. */
function concernsAll(error: unknown): boolean {
  if (codeOf(error) === 'ANOTHER_RUNNER') return true
  for (let e = error; typeof e === 'object' && e !== null; e = (e as { cause?: unknown }).cause)
    if ((e as { reason?: unknown }).reason === 'recreated') return true
  return false
}

/** Has the code of the first failure, as `RunError` has that of its cause. */
function partitionsFailed(log: string, failures: ReadonlyMap<number, Pick<Failure, 'error'>>): ReflexError {
  const inOrder = [...failures].toSorted(([a], [b]) => a - b)
  const cause = inOrder[0]?.[1].error
  const each = inOrder.map(([partition, { error }]) => `partition ${partition}: ${messageOf(error)}`)
  return new ReflexError(
    codeOf(cause) ?? 'PARTITION_FAILED',
    `${log}: ${inOrder.length} of the partitions cannot be read on, until what is wrong has been mended and the cursor reset. ${each.join('; ')}`,
    { cause, retriable: false },
  )
}

/** Refuses to open an earlier or a later topic of the same name, also for a partition that has no cursor yet. */
function streamOfTopic(log: string, id: string, stream: StreamFunc): StreamFunc {
  return async (after, options) => {
    const opened = await stream(after, options)
    if (opened.incarnation === id) return opened
    await opened[Symbol.asyncDispose]()
    throw new CursorAheadError(log, {
      cursor: `@${id}`,
      reason: 'recreated',
      found: `topic id ${opened.incarnation}`,
    })
  }
}

/** The same consumer under another name; it stays the `this` of its members. */
function renamed(consumer: Consumer, name: string): Consumer {
  const { types, handle, filter, recover, start, stop, settled } = consumer
  return {
    name,
    handle: handle.bind(consumer),
    ...(types && { types }),
    ...(filter && { filter: filter.bind(consumer) }),
    ...(recover && { recover: recover.bind(consumer) }),
    ...(start && { start: start.bind(consumer) }),
    ...(stop && { stop: stop.bind(consumer) }),
    ...(settled && { settled: settled.bind(consumer) }),
  }
}
