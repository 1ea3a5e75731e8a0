import { randomBytes } from 'node:crypto'
import { OptionError, ReflexError } from '../../core/errors.ts'
import { apiJson } from './api-json.ts'
import type { Delivery } from './codec.ts'
import type { NatsMessage } from './nats-client.ts'
import type { JetStreamConnection } from './nats-connection.ts'

/** From where on, and what, a consumer is to deliver. */
export interface PullOptions {
  readonly log: string
  readonly stream: string
  readonly subjects: readonly string[] | undefined
  /** The most messages, and about the most bytes, that are asked for at once. */
  readonly batchSize: number
  readonly batchBytes: number
}

/** The first message that is wanted: of a sequence, of a time, or the earliest. */
export type PullStart = { readonly seq: bigint } | { readonly time: string } | 'earliest'

/** Messages of a stream as they come: by a consumer on the server that is our own and that keeps nothing but its place. */
export interface PullConsumer extends AsyncDisposable {
  /** Makes it on the server. Called again, it begins anew from there. Resolves with how many messages are to come at the moment. */
  start(from: PullStart): Promise<bigint>
  /**
   * What has come, in order; the next ones are asked for. Empty if nothing came for a second, or, if `eager`, as soon as the server
   * has said that nothing is left. Rejects when the connection or the consumer is gone, or the server silent.
   */
  take(options: { readonly after: bigint; readonly eager: boolean }): Promise<Delivery[]>
}

/** The server ends a request after so long. */
const EXPIRES_MS = 1000
/** A server that says nothing for longer than that, and this, is frozen. */
const SILENCE_MS = 1200
/** If the event loop was held up, what came meanwhile is still to be read. */
const SECOND_LOOK_MS = 300
/** The server drops the consumer if nothing is asked for so long, as after kill -9. */
const INACTIVE_MS = 25_000
/** A reader that was away for so long gets another one. */
const RENEW_MS = 10_000
const DELETE_WITHIN_MS = 400

/** Prepares a consumer of a stream; nothing is sent before `start`. */
export function pullConsumer(connection: JetStreamConnection, options: PullOptions): PullConsumer {
  const { log, stream, subjects, batchSize, batchBytes } = options
  let name: string | undefined
  let subscription: { unsubscribe(): void } | undefined
  /** Where its messages and the server's words on requests come to. */
  let inbox = ''
  /** By the consumer's own count. */
  let delivered = 0
  let queue: Delivery[] = []
  let failure: ReflexError | undefined
  /** How many messages the request under way may still bring; 0 if there is none. */
  let expected = 0
  let requests = 0
  let brought = false
  let tooLarge = false
  let idle = false
  let isLast = false
  let askedAt = 0
  let watch: NodeJS.Timeout | undefined
  let wake = (): void => {}
  const closed = Promise.withResolvers<void>()

  const fail = (error: ReflexError): void => {
    failure ??= error
    clearTimeout(watch)
    wake()
  }
  connection.closed.then(fail, () => {})

  function receive(message: NatsMessage): void {
    watch?.refresh()
    const { reply, subject } = message
    if (reply?.startsWith('$JS.ACK.')) {
      const tokens = tokensOf(reply)
      delivered++
      if (Number(tokens[1]) !== delivered) {
        fail(lost(log, delivered, tokens[1]))
        return
      }
      const delivery = toDelivery(tokens, message)
      queue.push(delivery)
      isLast = delivery.isLast
      brought = true
      expected--
      if (expected === 0) clearTimeout(watch)
    } else if (subject === `${inbox}.${requests}`) ended(message)
    wake()
  }

  /** The server's last word on a request. */
  function ended({ headers }: NatsMessage): void {
    const { code = 0, description = '' } = headers ?? {}
    if (code === 100) return
    clearTimeout(watch)
    expected = 0
    if (code === 404 || code === 408) {
      idle ||= !brought
    } else if (code === 409 && /max ?bytes/i.test(description)) {
      tooLarge = !brought
    } else if (code !== 409 || !/batch completed/i.test(description)) {
      failure ??= new ReflexError(
        code === 503 || /deleted/i.test(description) ? 'NATS_CONSUMER_GONE' : 'NATS_PULL_REFUSED',
        `${log}: the server ended the consumer: ${code} ${description || 'nobody answers'}`,
      )
    }
  }

  function ask(): void {
    askedAt = performance.now()
    requests++
    expected = tooLarge ? 1 : batchSize
    const limit = tooLarge ? {} : { max_bytes: batchBytes }
    tooLarge = false
    brought = false
    clearTimeout(watch)
    watch = setTimeout(lookAgain, EXPIRES_MS + SILENCE_MS)
    const body = apiJson({ batch: expected, expires: EXPIRES_MS * 1e6, ...limit })
    connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`, body, { reply: `${inbox}.${requests}` })
  }

  function lookAgain(): void {
    watch = setTimeout(() => {
      const after = EXPIRES_MS + SILENCE_MS + SECOND_LOOK_MS
      fail(new ReflexError('NATS_CONNECTION', `${log}: the server has not answered for ${after} ms`))
    }, SECOND_LOOK_MS)
  }

  /** The consumer may be on the server even if that has not said so. */
  async function drop(): Promise<void> {
    clearTimeout(watch)
    if (name === undefined || connection.isClosed()) return
    subscription?.unsubscribe()
    subscription = undefined
    const gone = `CONSUMER.DELETE.${stream}.${name}`
    name = undefined
    await connection.api(gone, undefined, { timeoutMs: DELETE_WITHIN_MS }).catch(() => {}) // it ends by itself after INACTIVE_MS
  }

  async function start(from: PullStart): Promise<bigint> {
    await drop()
    queue = []
    expected = 0
    idle = false
    name = `reflex-${randomBytes(9).toString('hex')}`
    askedAt = performance.now()
    inbox = `${connection.inbox}.${name}`
    delivered = 0
    subscription = connection.subscribe(`${inbox}.*`, receive, fail)
    const config = {
      name,
      ...deliverPolicy(from),
      ack_policy: 'none',
      replay_policy: 'instant',
      mem_storage: true,
      num_replicas: 1,
      inactive_threshold: INACTIVE_MS * 1e6,
      ...filterOf(log, subjects, connection.version),
    }
    const { num_pending } = await connection.api<{ num_pending: bigint }>(`CONSUMER.CREATE.${stream}.${name}`, {
      stream_name: stream,
      config,
    })
    isLast = num_pending === 0n
    return num_pending
  }

  return {
    start,
    take: async ({ after, eager }) => {
      for (;;) {
        const isStale = expected === 0 && performance.now() - askedAt > RENEW_MS
        if (queue.length > 0) {
          const taken = queue
          queue = []
          if (expected === 0 && !isStale && failure === undefined) ask()
          return taken
        }
        if (failure !== undefined) throw failure
        if (idle || (eager && isLast)) {
          idle = false
          isLast = false
          return []
        }
        if (isStale) await start({ seq: after + 1n })
        if (expected === 0) ask()
        await Promise.race([
          new Promise<void>((resolve) => {
            wake = resolve
          }),
          closed.promise,
        ])
      }
    },
    [Symbol.asyncDispose]: async () => {
      failure ??= new ReflexError('NATS_CONNECTION', `${log}: the stream was closed`)
      await drop()
      closed.resolve()
    },
  }
}

function deliverPolicy(from: PullStart): object {
  if (from === 'earliest') return { deliver_policy: 'all' }
  if ('seq' in from) return { deliver_policy: 'by_start_sequence', opt_start_seq: from.seq }
  return { deliver_policy: 'by_start_time', opt_start_time: from.time }
}

function filterOf(log: string, subjects: readonly string[] | undefined, version: string): object {
  if (subjects === undefined) return {}
  if (subjects.length === 1) return { filter_subject: subjects[0] }
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major > 2 || (major === 2 && minor >= 10)) return { filter_subjects: subjects }
  throw new OptionError(
    `${log}: more than one of subjects needs server 2.10 or newer, but this is ${version}: give one, with wildcards, or none`,
  )
}

/** `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<deliveries>.<sequence>.<consumer sequence>.<time>.<pending>[.<token>]`, from the sequence on. */
function tokensOf(reply: string): string[] {
  const tokens = reply.split('.')
  return tokens.slice(tokens.length === 9 ? 5 : 7)
}

function toDelivery([seq, , time, pending]: readonly string[], message: NatsMessage): Delivery {
  return { seq: BigInt(seq as string), time: time as string, isLast: pending === '0', message }
}

/** What has been lost on the way would look as if it had been deleted. */
function lost(log: string, expected: number, found: string | undefined): ReflexError {
  return new ReflexError(
    'NATS_DELIVERY_LOST',
    `${log}: delivery ${expected} of the consumer was expected, but ${found} came: messages were lost on the way; start again`,
  )
}
