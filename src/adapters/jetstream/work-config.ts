import { OptionError } from '../../core/errors.ts'
import { apiJson } from './api-json.ts'
import type { JetStreamConnection } from './nats-connection.ts'
import { isSince } from './server-version.ts'

/** Where a new consumer begins: at the first message, with those that come from now on, at a sequence, or at a time (epoch ms). */
export type WorkFrom = 'start' | 'end' | { readonly sequence: bigint | number | string } | { readonly time: number }

/** What the server is told of a consumer. */
export interface WorkConfig {
  readonly stream: string
  readonly name: string
  readonly durable: boolean
  readonly from: WorkFrom
  readonly subjects: readonly string[] | undefined
  readonly processingTimeoutMs: number
  readonly maxAckPending: number | undefined
  readonly inactiveMs: number | undefined
}

interface ConsumerConfig {
  readonly ack_policy?: string
  readonly deliver_subject?: string
  readonly ack_wait?: number | bigint
  readonly max_ack_pending?: number
  readonly filter_subject?: string
  readonly filter_subjects?: readonly string[]
  readonly inactive_threshold?: number | bigint
  readonly [other: string]: unknown
}

/** The server has no consumer of the name. */
export const CONSUMER_MISSING = 10014
/** The server counts in nanoseconds, in 63 bits. */
const LONGEST_MS = 9e12
/** A timer of Node that is longer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1
/** Times have four digits for the year. */
const YEAR_10000 = 253_402_300_800_000

/**
 * Throws an `OptionError` unless a duration is from `least` ms up to what can be counted: 24 days where a timer of this process is set,
 * 285 years where only the server counts.
 */
export function checkMs(
  log: string,
  option: string,
  ms: number | undefined,
  { least, timed }: { readonly least: number; readonly timed: boolean },
): void {
  const most = timed ? LONGEST_TIMER_MS : LONGEST_MS
  if (ms === undefined || (typeof ms === 'number' && ms >= least && ms <= most)) return
  throw new OptionError(`${log}: ${option} must be from ${least} to ${most} ms, but is ${ms}`)
}

/** As the server counts; a fraction of one would not be a number to it. */
export function nanoseconds(ms: number): bigint {
  return BigInt(Math.ceil(ms * 1e6))
}

/**
 * Makes the consumer, or brings one that is there to what is asked for; its place stays. Throws an `OptionError` if the one that is there
 * cannot be shared: a push consumer, or one whose messages are not acknowledged each.
 */
export async function ensureWork(connection: JetStreamConnection, log: string, asked: WorkConfig): Promise<void> {
  const { stream, name, durable, subjects = [], from } = asked
  if (subjects.length > 1 && !isSince(connection.version, '2.10'))
    throw new OptionError(
      `${log}: several subjects need server 2.10 or newer, but this is ${connection.version}: give one, which may have wildcards`,
    )
  const there = durable
    ? await connection.api<{ config: ConsumerConfig } | undefined>(`CONSUMER.INFO.${stream}.${name}`, undefined, {
        unless: [CONSUMER_MISSING],
      })
    : undefined
  const wanted = settings(asked)
  const path = durable ? `CONSUMER.DURABLE.CREATE.${stream}.${name}` : `CONSUMER.CREATE.${stream}.${name}`
  if (there === undefined) {
    const named = durable ? { durable_name: name } : { name }
    const config = {
      ...named,
      ack_policy: 'explicit',
      replay_policy: 'instant',
      ...deliverPolicy(log, from),
      ...wanted,
    }
    await connection.api(path, { stream_name: stream, config })
    return
  }
  const { ack_policy, deliver_subject } = there.config
  if (ack_policy !== 'explicit' || deliver_subject)
    throw new OptionError(
      `${log}: the consumer ${name} is there already and ${deliver_subject ? 'pushes its messages' : `has ack_policy ${ack_policy}`}: expected a pull consumer with ack_policy explicit; give this one another name`,
    )
  const { filter_subject: _, filter_subjects: __, ...rest } = there.config
  const config = { ...rest, ...wanted }
  if (fingerprint(config) === fingerprint(there.config)) return
  await connection.api(path, { stream_name: stream, config })
}

/** The same for two configurations that say the same: the server may write an empty filter down, and one subject as a list. */
function fingerprint({ filter_subject, filter_subjects = [], ...rest }: ConsumerConfig): string {
  const filters = [...filter_subjects, ...(filter_subject ? [filter_subject] : [])].sort()
  return apiJson(Object.entries({ ...rest, filters }).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function settings({ subjects, processingTimeoutMs, maxAckPending, inactiveMs, durable }: WorkConfig): ConsumerConfig {
  const keep = inactiveMs ?? (durable ? undefined : 25_000)
  return {
    ack_wait: nanoseconds(processingTimeoutMs),
    ...(maxAckPending === undefined ? {} : { max_ack_pending: maxAckPending }),
    ...(keep === undefined ? {} : { inactive_threshold: nanoseconds(keep) }),
    ...(subjects === undefined
      ? {}
      : subjects.length === 1
        ? { filter_subject: subjects[0] as string }
        : { filter_subjects: subjects }),
  }
}

function deliverPolicy(log: string, from: WorkFrom): object {
  if (from === 'start') return { deliver_policy: 'all' }
  if (from === 'end') return { deliver_policy: 'new' } // not `last`, which delivers the newest one that is there
  if (typeof from === 'object' && from !== null) {
    if ('sequence' in from && /^[1-9]\d{0,19}$/.test(String(from.sequence)))
      return { deliver_policy: 'by_start_sequence', opt_start_seq: BigInt(from.sequence) }
    if ('time' in from && from.time >= 0 && from.time < YEAR_10000)
      return { deliver_policy: 'by_start_time', opt_start_time: new Date(from.time).toISOString() }
  }
  throw new OptionError(
    `${log}: from must be 'start', 'end', { sequence } from 1 on, or { time } in epoch ms, but is ${typeof from === 'object' ? apiJson(from ?? {}) : JSON.stringify(from)}`,
  )
}
