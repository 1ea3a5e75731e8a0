import { randomBytes } from 'node:crypto'
import { untilAborted } from '../../core/abort.ts'
import { codeOf, DecodeError, OptionError, ReflexError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { type Delivery, decodeMessage, toMessage } from './codec.ts'
import type { NatsMessage } from './nats-client.ts'
import { connectNats, type JetStreamConnection } from './nats-connection.ts'
import { deliveryReader } from './read-delivery.ts'
import { checkName } from './subjects.ts'
import { type HeldWork, holdWork, type Work } from './work.ts'
import { workAcks } from './work-acks.ts'
import { CONSUMER_MISSING, checkMs, ensureWork } from './work-config.ts'
import { checkWorkOptions, type WorkLetter, type WorkOptions } from './work-options.ts'
import { workPull } from './work-pull.ts'

/** Messages of a stream that several consumers share: each one is done by one of them. */
export interface WorkConsumer extends AsyncIterable<Work>, AsyncDisposable {
  readonly name: string
  /**
   * Ends the iteration at once. What was taken has `drainMs` to be settled, by default none; then its signal aborts. What is not settled is
   * given back, 0.5 s later at most. The consumer on the server stays if it has a name.
   */
  close(options?: { readonly drainMs?: number | undefined }): Promise<void>
  /**
   * Closes, and removes the consumer from the server: its place, and what is pending, are forgotten. Rejects with an `OptionError` if it
   * was closed before, and stays there, and with `NATS_CONNECTION` if the server cannot be told.
   */
  unsubscribe(): Promise<void>
}

const FLUSH_WITHIN_MS = 400

/**
 * A share in the messages of a stream, for those who want work to be done by many rather than in order: a message goes to one of those who
 * consume under the same name, and comes again, to any of them, until it is settled. At least once; in no order as soon as more than one is
 * held. Where order counts, take `jetstreamSource` and `run`.
 *
 * The iteration ends when the consumer is closed or its signal aborts. It rejects, and every message's signal aborts, when the connection
 * is lost or the server silent for 2.5 s: nothing is connected anew, `supervise` starts again. NATS 2.9 or newer, any retention.
 *
 * @example
 * await using consumer = await jetstreamWork({ connect, stream: 'SHOP', name: 'mailers', subjects: ['shop.orders.>'], from: 'start' })
 * for await (const work of consumer) await mail(work.event).then(() => work.ack(), () => work.reject({ delayMs: 5000 }))
 */
export async function jetstreamWork(options: WorkOptions): Promise<WorkConsumer> {
  const { connect, stream, signal } = options
  checkName('jetstreamWork', 'stream', stream)
  const name = options.name ?? `reflex-work-${randomBytes(9).toString('hex')}`
  checkName('jetstreamWork', 'name', name)
  const log = `nats:${stream}, consumer ${name}`
  checkWorkOptions(log, options)
  const connection = await connectNats(connect, { log, signal })
  const durable = options.name !== undefined
  try {
    const { subjects, from = 'end', processingTimeoutMs = 30_000, maxAckPending, inactiveMs } = options
    const asked = { stream, name, durable, from, subjects, processingTimeoutMs, maxAckPending, inactiveMs }
    await untilAborted(ensureWork(connection, log, asked), signal)
    return consume(connection, { ...options, log, name, durable, processingTimeoutMs })
  } catch (error) {
    const ending = discard(connection, { stream, name, durable })
    if (!signal?.aborted) await ending
    throw error
  }
}

/** Closes a connection; a consumer that was being made, and is this one's alone, goes with it. Never rejects. */
async function discard(
  connection: JetStreamConnection,
  { stream, name, durable }: { readonly stream: string; readonly name: string; readonly durable: boolean },
): Promise<void> {
  const remove = (): Promise<unknown> =>
    connection.api(`CONSUMER.DELETE.${stream}.${name}`, undefined, { timeoutMs: FLUSH_WITHIN_MS })
  if (!durable && !connection.isClosed()) await remove().catch(() => {}) // it may not have been made
  await connection[Symbol.asyncDispose]().then(undefined, () => {})
}

interface ConsumeOptions extends WorkOptions {
  readonly log: string
  readonly name: string
  readonly durable: boolean
  readonly processingTimeoutMs: number
}

function consume(connection: JetStreamConnection, options: ConsumeOptions): WorkConsumer {
  const { log, name, stream, durable, processingTimeoutMs, autoPing = true, maxPending = 50, signal } = options
  const { maxDeliveries = Number.POSITIVE_INFINITY, deadLetter } = options
  const acks = workAcks(connection, log)
  const readDelivery = deliveryReader()
  const held = new Set<HeldWork>()
  const taken = new Set<HeldWork>()
  let queue: HeldWork[] = []
  /** Where to give back what is left over when it is closed. */
  const left: string[] = []
  let failure: { readonly error: unknown } | undefined
  let closing: Promise<void> | undefined
  let removes = false
  let changed = Promise.withResolvers<void>()
  const change = (): void => {
    changed.resolve()
    changed = Promise.withResolvers()
  }
  const isOver = (): boolean => failure !== undefined || closing !== undefined

  function fail(error: unknown): void {
    if (isOver()) return
    failure = { error }
    clearInterval(pinging)
    queue = []
    loseAll(error)
    change()
  }
  /** What was held is given back when the consumer is closed, if the server can be told. */
  function loseAll(reason: unknown): void {
    for (const each of [...held]) {
      left.push(each.reply)
      each.lose(reason)
    }
  }
  const pinging = autoPing
    ? setInterval(() => {
        if (!connection.isClosed()) for (const each of held) each.ping()
      }, processingTimeoutMs / 3)
    : undefined
  connection.closed.then(fail, () => {})
  const pull = workPull(connection, { log, stream, name }, { message: receive, free: ask, failure: fail })
  function ask(): void {
    if (!isOver()) pull.ask(maxPending - held.size)
  }

  function receive(message: NatsMessage): void {
    const delivery = readDelivery(message) as Delivery
    const { reply = '' } = message
    const attempt = attemptIn(reply)
    let event: Event | undefined
    let error: unknown
    try {
      event = decodeMessage(delivery)
    } catch (cause) {
      error = new DecodeError(log, { position: String(delivery.seq), cause })
    }
    let timer: NodeJS.Timeout | undefined
    const tooLate = (): void =>
      one.lose(
        new ReflexError(
          'WORK_LOST',
          `${log}: message ${delivery.seq} was not settled within ${processingTimeoutMs} ms`,
        ),
      )
    const pinged = (): void => {
      if (autoPing) return
      clearTimeout(timer)
      timer = setTimeout(tooLate, processingTimeoutMs)
    }
    const bury = async (reason: WorkLetter['reason']): Promise<void> =>
      await deadLetter?.({ message: toMessage(delivery), reason, attempt, ...(error === undefined ? {} : { error }) })
    const one: HeldWork = holdWork({
      ...{ log, attempt, reply, acks, pinged },
      event: event ?? { id: String(delivery.seq), type: 0, foreignId: '', timestamp: 0, metadata: null, headers: {} },
      subject: message.subject,
      bury: () => bury('rejected'),
      released: () => {
        clearTimeout(timer)
        held.delete(one)
        taken.delete(one)
        queue = queue.filter((each) => each !== one)
        ask()
        change()
      },
    })
    if (isOver()) {
      left.push(reply)
      return
    }
    held.add(one)
    pinged()
    const reason = error !== undefined ? 'undecodable' : attempt > maxDeliveries ? 'too many deliveries' : undefined
    if (reason === undefined) {
      queue.push(one)
      change()
    } else if (deadLetter === undefined) fail(error)
    else {
      taken.add(one)
      bury(reason)
        .then(() => acks.confirm(reply, '+TERM'))
        .then(() => one.lose(undefined), fail)
    }
  }

  async function end({ drainMs = 0, remove }: { drainMs?: number | undefined; remove: boolean }): Promise<void> {
    signal?.removeEventListener('abort', onAbort)
    const reason = new Error(`${log}: the consumer was closed`)
    try {
      queue = []
      change()
      if (drainMs > 0 && failure === undefined) await drained(drainMs)
      loseAll(reason)
      clearInterval(pinging)
      if (connection.isClosed() || codeOf(failure?.error) === 'NATS_CONNECTION') {
        if (remove && durable) throw notRemoved(log, { stream, name, cause: failure?.error })
        return
      }
      if (!remove) {
        // While a request of this consumer is open, it would itself get again what it gives back.
        await Promise.race([pull.quiet(), connection.closed])
        for (const reply of left) if (!connection.isClosed()) acks.send(reply, '-NAK')
      }
      // Its answer also says that all that was sent has arrived.
      const last = remove ? `CONSUMER.DELETE.${stream}.${name}` : `CONSUMER.INFO.${stream}.${name}`
      const asked = { timeoutMs: FLUSH_WITHIN_MS, unless: [CONSUMER_MISSING] }
      await connection.api(last, undefined, asked).catch((error: unknown) => {
        if (remove && durable) throw notRemoved(log, { stream, name, cause: error })
      })
    } finally {
      clearInterval(pinging)
      pull[Symbol.dispose]()
      acks[Symbol.dispose]()
      await connection[Symbol.asyncDispose]()
    }
  }
  async function drained(drainMs: number): Promise<void> {
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(late.resolve, drainMs)
    let isLate = false
    void late.promise.then(() => {
      isLate = true
    })
    while (taken.size > 0 && !isLate && !connection.isClosed())
      await Promise.race([changed.promise, late.promise, connection.closed])
    clearTimeout(timer)
  }
  function close(how: { drainMs?: number | undefined; remove: boolean }): Promise<void> {
    if (closing === undefined) {
      removes = how.remove
      closing = Promise.resolve().then(() => end(how))
    }
    return closing
  }
  async function unsubscribe(): Promise<void> {
    await close({ remove: true })
    if (removes) return
    throw new OptionError(
      `${log}: was closed before it was to be unsubscribed, so the consumer ${name} is still on the server: remove it there (nats consumer rm ${stream} ${name})`,
    )
  }
  const onAbort = (): void => void close({ remove: !durable }).catch(() => {}) // what is left ends by itself
  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted) onAbort()
  ask()

  const next = async (): Promise<IteratorResult<Work>> => {
    for (;;) {
      if (failure !== undefined) throw failure.error
      if (closing !== undefined) return { done: true, value: undefined }
      const one = queue.shift()
      if (one !== undefined) {
        taken.add(one)
        return { done: false, value: one.work }
      }
      await changed.promise
    }
  }
  return {
    name,
    [Symbol.asyncIterator]: () => ({
      next,
      return: async () => {
        await close({ remove: !durable })
        return { done: true, value: undefined }
      },
    }),
    close: async ({ drainMs } = {}) => {
      checkMs(log, 'drainMs', drainMs, { least: 0, timed: true })
      await close({ drainMs, remove: !durable })
    },
    unsubscribe,
    [Symbol.asyncDispose]: () => close({ remove: !durable }),
  }
}

function notRemoved(
  log: string,
  { stream, name, cause }: { readonly stream: string; readonly name: string; readonly cause: unknown },
): ReflexError {
  return new ReflexError(
    'NATS_CONNECTION',
    `${log}: the server does not answer, so the consumer ${name} may still be there: unsubscribe once more from a new one, or remove it there (nats consumer rm ${stream} ${name})`,
    { cause },
  )
}

/** `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>. …`. */
function attemptIn(reply: string): number {
  const tokens = reply.split('.')
  return Number(tokens[tokens.length === 9 ? 4 : 6])
}
