import { messageOf, OptionError } from '../../core/errors.ts'
import type { JetStreamMessage } from './codec.ts'
import type { ConnectNats } from './nats-client.ts'
import { checkConnect, checkSubjects } from './subjects.ts'
import { checkMs, type WorkFrom } from './work-config.ts'

/** Options of `jetstreamWork`. */
export interface WorkOptions {
  /** Makes a fresh connection: `() => connect({ servers, ...jetstreamFailFast })`. */
  readonly connect: ConnectNats
  /** The stream's name. */
  readonly stream: string
  /** All consumers of one name share the messages. Default: none; the consumer is this one's alone, and ends with it. */
  readonly name?: string | undefined
  /** Only messages of these subjects; several need server 2.10. Default: all. */
  readonly subjects?: readonly string[] | undefined
  /** Where a consumer begins that is not there yet. `end`: with messages that come from now on, and no other. Default: `end`. */
  readonly from?: WorkFrom | undefined
  /** A message that is neither settled nor pinged for so long is delivered to somebody else. In ms, from 100 to 24 days, default 30,000. */
  readonly processingTimeoutMs?: number | undefined
  /** Ping every message that is held, until it is settled. False: what takes longer than the timeout is lost. Default: true. */
  readonly autoPing?: boolean | undefined
  /** The most messages that this one holds, taken or not. Default: 50. */
  readonly maxPending?: number | undefined
  /** The most that all who share the consumer hold together. Default: the server's, 1,000. */
  readonly maxAckPending?: number | undefined
  /** A message that is delivered for a further time than this goes to the dead letters. Needs `deadLetter`. Default: no limit. */
  readonly maxDeliveries?: number | undefined
  /**
   * Records what cannot be decoded, was rejected for good, or was delivered too often; when that is done, the message does not come again.
   * What it throws ends the consumer, or is thrown by `reject`, and the message comes again. Default: none; what cannot be decoded ends
   * the consumer.
   */
  readonly deadLetter?: ((letter: WorkLetter) => void | Promise<void>) | undefined
  /** The server forgets a consumer that nobody has used for so long, in ms. Default: never if it has a name. */
  readonly inactiveMs?: number | undefined
  /** Closes the consumer. */
  readonly signal?: AbortSignal | undefined
}

/** A message that will not be done. */
export interface WorkLetter {
  readonly message: JetStreamMessage
  readonly reason: 'undecodable' | 'rejected' | 'too many deliveries'
  readonly attempt: number
  /** Why it cannot be decoded. */
  readonly error?: unknown
}

/** Throws an `OptionError` on options that cannot be. */
export function checkWorkOptions(log: string, options: WorkOptions): void {
  const { connect, subjects, processingTimeoutMs = 30_000, inactiveMs, maxDeliveries, deadLetter } = options
  checkConnect(log, connect)
  checkSubjects(log, subjects)
  const wrong = (text: string): never => {
    throw new OptionError(`${log}: ${text}`)
  }
  checkMs(log, 'processingTimeoutMs', processingTimeoutMs, { least: 100, timed: true })
  checkMs(log, 'inactiveMs', inactiveMs, { least: 1, timed: false })
  for (const option of ['maxPending', 'maxAckPending', 'maxDeliveries'] as const) {
    const value = options[option]
    if (value !== undefined && !(Number.isSafeInteger(value) && value > 0))
      wrong(`${option} must be a positive integer, but is ${messageOf(value)}`)
  }
  if (maxDeliveries !== undefined && deadLetter === undefined)
    wrong('maxDeliveries needs deadLetter: without a place for them, messages would be dropped without a word')
}
