import { randomBytes } from 'node:crypto'
import { ReflexError } from '../../core/errors.ts'
import { apiJson } from './api-json.ts'
import type { Delivery } from './codec.ts'
import type { NatsMessage } from './nats-client.ts'
import type { JetStreamConnection } from './nats-connection.ts'
import { deliveryReader } from './read-delivery.ts'

/** From where on, and what, a consumer is to deliver. */
export interface PullOptions {
  readonly log: string
  readonly stream: string
  /** Which ones the server picks out; more than one need 2.15. */
  readonly subjects: readonly string[] | undefined
  /** The most messages, and about the most bytes, that are asked for or have come and were not taken. */
  readonly batchSize: number
  readonly batchBytes: number
}

/** The first message that is wanted: of a sequence, of a time, the earliest, or the first one that is stored from now on. */
export type PullStart = { readonly seq: bigint } | { readonly time: string } | 'earliest' | 'new'

/** Messages of a stream as they come: by a consumer on the server that is our own and that keeps nothing but its place. */
export interface PullConsumer extends AsyncDisposable {
  /**
   * Makes it on the server. Called again, it begins anew from there. Resolves with how many messages are to come at the moment, and
   * the sequence after which it begins.
   */
  start(from: PullStart): Promise<{ readonly count: bigint; readonly after: bigint }>
  /** All that has come was taken, and nothing was asked for since so long that the server may have dropped it: it has to be started again. */
  isStale(): boolean
  /**
   * What has come, in order; the next ones are asked for. Empty if nothing came for a second, or, if `eager`, as soon as the server
   * has said that nothing is left. Rejects when the connection or the consumer is gone, or the server silent.
   */
  take(options: { readonly eager: boolean }): Promise<Delivery[]>
}

/**
 * A request for messages that is under way, or none. Two of them take turns, so that the server never waits for the next one; each
 * has a subscription of its own: the server answers them alternately, and without it nobody could tell which one a message is for.
 */
interface Request {
  /** How many messages and bytes it may still bring; 0 if it has ended. */
  messages: number
  bytes: number
  brought: boolean
  /** Nothing else stood in the way of what it asked for. */
  whole: boolean
}

/** The server ends a request after so long. */
const EXPIRES_MS = 1000
/** A server that says nothing for so many of these, more than twice as long, is frozen. A held up event loop counts as one. */
const LOOK_EVERY_MS = 500
const SILENT_LOOKS = 5
/** The server drops the consumer if nothing is asked for so long, as after kill -9. */
const INACTIVE_MS = 25_000
/** A reader that was away for so long gets another one. */
const RENEW_MS = 10_000
const DELETE_WITHIN_MS = 400

/** Prepares a consumer of a stream; nothing is sent before `start`. */
export function pullConsumer(connection: JetStreamConnection, options: PullOptions): PullConsumer {
  const { log, stream, subjects, batchSize, batchBytes } = options
  let name: string | undefined
  let subscriptions: { unsubscribe(): void }[] = []
  /** Where messages and the server's words on requests come to. */
  let inbox = ''
  let readDelivery = deliveryReader()
  /** By the consumer's own count. */
  let delivered = 0
  let queue: Delivery[] = []
  let failure: ReflexError | undefined
  const requests: readonly Request[] = [none(), none()]
  let tooLarge = false
  let idle = false
  let isLast = false
  let askedAt = 0
  let silentFor = 0
  let watch: NodeJS.Timeout | undefined
  let wake = (): void => {}

  const isWaiting = (): boolean => requests.some(({ messages }) => messages > 0)
  const isStale = (): boolean => queue.length === 0 && !isWaiting() && performance.now() - askedAt > RENEW_MS
  const fail = (error: ReflexError): void => {
    failure ??= error
    clearInterval(watch)
    wake()
  }
  connection.closed.then(fail, () => {})

  function receive(request: Request, message: NatsMessage): void {
    silentFor = 0
    const delivery = readDelivery(message)
    if (delivery === undefined) ended(request, message)
    else if (delivery.number === delivered + 1) {
      delivered++
      queue.push(delivery)
      isLast = delivery.isLast
      request.brought = true
      request.messages--
      request.bytes -= delivery.size
      // Also a request that has used up its bytes exactly ends without a word.
      if (request.bytes <= 0) request.messages = 0
    } else fail(lost(log, delivered + 1, delivery.number))
    wake()
  }

  /** The server's last word on a request. */
  function ended(request: Request, { headers }: NatsMessage): void {
    const { code = 0, description = '' } = headers ?? {}
    if (code === 100) return
    request.messages = 0
    if (code === 404 || code === 408) {
      idle ||= !request.brought
    } else if (code === 409 && /max ?bytes/i.test(description)) {
      tooLarge = request.whole && !request.brought
    } else if (code !== 409 || !/batch completed/i.test(description)) {
      failure ??= new ReflexError(
        code === 503 || /deleted/i.test(description) ? 'NATS_CONSUMER_GONE' : 'NATS_PULL_REFUSED',
        `${log}: the server ended the consumer: ${code} ${description || 'nobody answers'}`,
      )
    }
  }

  /** Asks for as much as there is room for, with nothing in the queue. */
  function ask(): void {
    const free = requests.findIndex(({ messages }) => messages === 0)
    const [request, other] = [requests[free], requests[1 - free]]
    if (request === undefined || other === undefined) return
    const whole = other.messages === 0
    const room = whole
      ? { messages: batchSize, bytes: batchBytes }
      : { messages: batchSize - other.messages, bytes: batchBytes - other.bytes }
    if (room.messages < batchSize / 4 || room.bytes < batchBytes / 4) return // it would be used up at once
    const wanted = whole && tooLarge ? { messages: 1, bytes: Number.POSITIVE_INFINITY } : room
    tooLarge = false
    Object.assign(request, { ...wanted, brought: false, whole })
    askedAt = performance.now()
    if (whole) keepWatch()
    const { messages: batch, bytes: max_bytes } = wanted
    const body = apiJson({ batch, expires: EXPIRES_MS * 1e6, ...(Number.isFinite(max_bytes) ? { max_bytes } : {}) })
    connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`, body, { reply: `${inbox}.${free}` })
  }

  function keepWatch(): void {
    clearInterval(watch)
    silentFor = 0
    watch = setInterval(() => {
      if (!isWaiting()) return clearInterval(watch)
      silentFor++
      if (silentFor < SILENT_LOOKS) return
      fail(
        new ReflexError(
          'NATS_CONNECTION',
          `${log}: the server has not answered for ${SILENT_LOOKS * LOOK_EVERY_MS} ms: start again`,
        ),
      )
    }, LOOK_EVERY_MS)
  }

  /** The consumer may be on the server even if that has not said so. */
  async function drop(): Promise<void> {
    clearInterval(watch)
    if (name === undefined || connection.isClosed()) return
    for (const subscription of subscriptions) subscription.unsubscribe()
    subscriptions = []
    const gone = `CONSUMER.DELETE.${stream}.${name}`
    name = undefined
    await connection.api(gone, undefined, { timeoutMs: DELETE_WITHIN_MS }).catch(() => {}) // it ends by itself after INACTIVE_MS
  }

  async function start(from: PullStart): Promise<{ readonly count: bigint; readonly after: bigint }> {
    await drop()
    if (failure !== undefined) throw failure
    queue = []
    for (const request of requests) Object.assign(request, none())
    tooLarge = false
    idle = false
    delivered = 0
    readDelivery = deliveryReader()
    name = `reflex-${randomBytes(9).toString('hex')}`
    askedAt = performance.now()
    inbox = `${connection.inbox}.${name}`
    subscriptions = requests.map((request, i) =>
      connection.subscribe(`${inbox}.${i}`, (message) => receive(request, message), fail),
    )
    const config = {
      name,
      ...deliverPolicy(from),
      ack_policy: 'none',
      replay_policy: 'instant',
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: INACTIVE_MS * 1e6,
      ...filterOf(subjects),
    }
    const { num_pending, delivered: place } = await connection.api<{
      num_pending: bigint
      delivered: { stream_seq: bigint }
    }>(`CONSUMER.CREATE.${stream}.${name}`, { stream_name: stream, config })
    isLast = num_pending === 0n
    return { count: num_pending, after: place.stream_seq }
  }

  return {
    start,
    isStale,
    take: async ({ eager }) => {
      for (;;) {
        if (queue.length > 0) {
          const taken = queue
          queue = []
          if (failure === undefined && !isStale()) ask()
          return taken
        }
        if (failure !== undefined) throw failure
        if (idle || (eager && isLast)) {
          idle = false
          isLast = false
          return []
        }
        ask()
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
    [Symbol.asyncDispose]: async () => {
      fail(new ReflexError('NATS_CONNECTION', `${log}: the stream was closed`))
      await drop()
    },
  }
}

function none(): Request {
  return { messages: 0, bytes: 0, brought: false, whole: false }
}

function deliverPolicy(from: PullStart): object {
  if (from === 'earliest') return { deliver_policy: 'all' }
  if (from === 'new') return { deliver_policy: 'new' }
  if ('seq' in from) return { deliver_policy: 'by_start_sequence', opt_start_seq: from.seq }
  return { deliver_policy: 'by_start_time', opt_start_time: from.time }
}

function filterOf(subjects: readonly string[] | undefined): object {
  if (subjects === undefined) return {}
  return subjects.length === 1 ? { filter_subject: subjects[0] } : { filter_subjects: subjects }
}

/** What has been lost on the way would look as if it had been deleted. */
function lost(log: string, expected: number, found: number): ReflexError {
  return new ReflexError(
    'NATS_DELIVERY_LOST',
    `${log}: delivery ${expected} of the consumer was expected, but ${found} came: messages were lost on the way; start again`,
  )
}
