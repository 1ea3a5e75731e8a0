import { OptionError } from '../../core/errors.ts'
import { apiJson } from './api-json.ts'
import type { SourceConfig, StreamConfig } from './stream-info.ts'
import { checkName, checkSubjects } from './subjects.ts'

/** A limit: a positive number, or none. */
export type StreamLimit = number | 'unlimited'

/** A stream that another one copies from. */
export interface StreamSource {
  readonly stream: string
  /** Only messages of this subject, which may have wildcards. To filter by several, name the stream once for each (server 2.10). Default: all. */
  readonly subject?: string | undefined
  /** Only messages from this sequence on. Default: from the earliest. */
  readonly startSequence?: bigint | undefined
  /**
   * Only messages that were stored from then on: epoch ms. Only for a mirror, or the one source of a stream without subjects: servers
   * begin no earlier than at the newest message that the copying stream has (nats-io/nats-server#8387). Default: from the earliest.
   */
  readonly startTime?: number | undefined
  /**
   * What else the server has of it, as JSON: where another account or domain has the stream, how subjects are renamed. Only told, never
   * asked for: a source with it can be kept, but not be named.
   */
  readonly other?: string | undefined
}

/** A stream's configuration, in JetStream's own words, with their units. */
export interface StreamSettings {
  /** What is published to these subjects is stored; wildcards are allowed. Default: none, where there are `sources` or a `mirror`. */
  readonly subjects: readonly string[]
  /** Streams whose messages are copied into this one. Default: none. */
  readonly sources: readonly StreamSource[]
  /** The stream that this one is a copy of, message by message under the same sequences. Default: none. */
  readonly mirror: StreamSource | undefined
  /** `limits` keeps messages until a limit takes them, `interest` and `workqueue` until consumers have acknowledged them. Default: limits. */
  readonly retention: 'limits' | 'interest' | 'workqueue'
  /** Older messages are removed. Default: unlimited. */
  readonly maxAgeMs: StreamLimit
  /** The most messages in the stream. Default: unlimited. */
  readonly maxMessages: StreamLimit
  /** The most messages of each subject. Default: unlimited. */
  readonly maxMessagesPerSubject: StreamLimit
  /** The most bytes in the stream. Default: unlimited. */
  readonly maxBytes: StreamLimit
  /** The most bytes of a message, headers included. Default: unlimited, up to max_payload of the server. */
  readonly maxMessageBytes: StreamLimit
  /** What a full stream does: remove the `old`, or refuse the `new`. Default: old. */
  readonly discard: 'old' | 'new'
  /** Refuse what is new also at `maxMessagesPerSubject`; needs `discard: 'new'`. Default: false, which removes the oldest of the subject. */
  readonly discardNewPerSubject: boolean
  /** Default: file. */
  readonly storage: 'file' | 'memory'
  /** On so many servers of a cluster. Default: 3, or 1 at a server that is alone. */
  readonly replicas: number
  /** A message whose `Nats-Msg-Id` came within this time before is not stored again. Default: 2 minutes, or `maxAgeMs` if that is less. */
  readonly duplicateWindowMs: number
  /** Batches that are stored whole or not at all, which lets several routes share the stream; needs server 2.12. Default: true where the server has it. */
  readonly allowAtomic: boolean
  /** No message can be deleted. The server never takes that back. Default: false. */
  readonly denyDelete: boolean
  /** The stream cannot be purged. The server never takes that back. Default: false. */
  readonly denyPurge: boolean
}

/** What is asked of a stream; what is not named stays as it is, or has its default. */
export type WantedSettings = { readonly [K in keyof StreamSettings]?: StreamSettings[K] | undefined }

/** The settings that were named. */
export function named(wanted: WantedSettings): (keyof StreamSettings)[] {
  return names.filter((name) => wanted[name] !== undefined)
}

/** The settings of a stream as the server tells them. */
export function settingsOf(config: StreamConfig): StreamSettings {
  const { subjects, sources, mirror, retention, discard, storage } = config
  return {
    subjects: subjects ?? [],
    sources: (sources ?? []).map(toSource),
    mirror: mirror ? toSource(mirror) : undefined,
    retention: (retention ?? 'limits') as StreamSettings['retention'],
    maxAgeMs: limitOf(Number(config.max_age ?? 0) / 1e6),
    maxMessages: limitOf(config.max_msgs),
    maxMessagesPerSubject: limitOf(config.max_msgs_per_subject),
    maxBytes: limitOf(config.max_bytes),
    maxMessageBytes: limitOf(config.max_msg_size),
    discard: (discard ?? 'old') as StreamSettings['discard'],
    discardNewPerSubject: config.discard_new_per_subject ?? false,
    storage: (storage ?? 'file') as StreamSettings['storage'],
    replicas: config.num_replicas ?? 1,
    duplicateWindowMs: Number(config.duplicate_window ?? 0) / 1e6,
    allowAtomic: config.allow_atomic ?? false,
    denyDelete: config.deny_delete ?? false,
    denyPurge: config.deny_purge ?? false,
  }
}

/** The named settings in the server's words. `there` is the configuration that they are to change: its sources are kept as they are. */
export function configOf(wanted: WantedSettings, there: StreamConfig = {}): StreamConfig {
  const config: Record<string, unknown> = {}
  for (const name of named(wanted)) {
    const value = wanted[name]
    const [field, write] = fields[name]
    config[field] = write(value as never, there)
  }
  return config
}

/** Whether two values of a setting are the same one. */
export function isSame<K extends keyof StreamSettings>(name: K, a: StreamSettings[K], b: StreamSettings[K]): boolean {
  if (name === 'subjects') return sorted(a as readonly string[]) === sorted(b as readonly string[])
  if (name === 'sources')
    return sorted((a as readonly StreamSource[]).map(textOf)) === sorted((b as readonly StreamSource[]).map(textOf))
  if (name === 'mirror') return textOf(a as StreamSource) === textOf(b as StreamSource)
  return a === b
}

/** A source in words, which are different for different ones. */
export function textOf(source: StreamSource | undefined): string {
  if (source === undefined) return 'none'
  const { stream, subject, startSequence, startTime, other } = source
  return [
    stream,
    subject === undefined ? '' : ` (${subject})`,
    startSequence === undefined ? '' : ` from ${startSequence} on`,
    startTime === undefined ? '' : ` from ${new Date(startTime).toISOString()} on`,
    other === undefined ? '' : ` with ${other}`,
  ].join('')
}

/** The value of a setting in words. */
export function inWords(value: StreamSettings[keyof StreamSettings]): string {
  if (Array.isArray(value))
    return value.map((each) => (typeof each === 'string' ? each : textOf(each))).join(', ') || 'none'
  return typeof value === 'object' || value === undefined ? textOf(value as never) : String(value)
}

/** Refuses settings of a wrong kind, and those that exclude each other. */
export function checkSettings(log: string, wanted: WantedSettings): void {
  const refuse = (name: string, expected: string, found: unknown): never => {
    throw new OptionError(`${log}: ${name} must be ${expected}, but is ${JSON.stringify(found) ?? String(found)}`)
  }
  checkSubjects(log, wanted.subjects)
  for (const [name, allowed] of Object.entries(words) as [keyof typeof words, readonly unknown[]][])
    if (wanted[name] !== undefined && !allowed.includes(wanted[name]))
      refuse(name, `one of ${allowed.join(', ')}`, wanted[name])
  for (const name of limits) {
    const value = wanted[name]
    if (value !== undefined && value !== 'unlimited' && !isPositive(value))
      refuse(name, 'a positive integer or "unlimited"', value)
  }
  for (const name of ['replicas', 'duplicateWindowMs'] as const)
    if (wanted[name] !== undefined && !isPositive(wanted[name])) refuse(name, 'a positive integer', wanted[name])

  const { subjects, sources, mirror } = wanted
  if (sources !== undefined && (!Array.isArray(sources) || sources.length === 0))
    refuse('sources', 'a list of at least one stream, or left out', sources)
  for (const source of [...(sources ?? []), ...(mirror === undefined ? [] : [mirror])]) checkSource(log, source)
  const twice = sources?.map(textOf).find((text, i, all) => all.indexOf(text) !== i)
  if (twice !== undefined)
    throw new OptionError(`${log}: sources must name each stream and subject once, but ${twice} is named twice`)
  if (mirror !== undefined && (subjects ?? sources) !== undefined)
    throw new OptionError(
      `${log}: a mirror has all its messages from one stream: leave subjects and sources out, or name sources instead`,
    )
}

/** Refuses sources of which the server would silently skip what is older than the stream's newest message. */
export function checkStartTimes(log: string, { sources = [], subjects = [] }: WantedSettings): void {
  const timed = sources.find(({ startTime }) => startTime !== undefined)
  if (timed === undefined || (sources.length === 1 && subjects.length === 0)) return
  throw new OptionError(
    `${log}: startTime is for the one source of a stream without subjects, since servers skip what is older than the newest message of the copying stream: give ${timed.stream} a startSequence instead`,
  )
}

function checkSource(log: string, source: StreamSource): void {
  const { stream, subject, startSequence, startTime, ...rest } = source
  checkName(log, 'stream of a source', stream)
  if (Array.isArray(subject) || 'subjects' in rest)
    throw new OptionError(
      `${log}: a source is filtered by one subject: to copy several from ${stream}, name it once for each, as in sources: [{ stream, subject: 'a.>' }, { stream, subject: 'b.>' }]`,
    )
  if (rest.other !== undefined)
    throw new OptionError(
      `${log}: a source is named by stream, subject and start alone, but ${stream} has other, which only tells what there is: ${rest.other}`,
    )
  if (subject !== undefined) checkSubjects(log, [subject])
  if (startSequence !== undefined && (typeof startSequence !== 'bigint' || startSequence < 1n))
    throw new OptionError(`${log}: startSequence must be a bigint from 1n on, but is ${String(startSequence)}`)
  if (startTime !== undefined && !Number.isFinite(startTime))
    throw new OptionError(`${log}: startTime must be epoch ms, but is ${String(startTime)}`)
  if (startSequence !== undefined && startTime !== undefined)
    throw new OptionError(`${log}: a source starts at one of startSequence and startTime, but both are given`)
}

const limits = ['maxAgeMs', 'maxMessages', 'maxMessagesPerSubject', 'maxBytes', 'maxMessageBytes'] as const
const words = {
  retention: ['limits', 'interest', 'workqueue'],
  discard: ['old', 'new'],
  discardNewPerSubject: [true, false],
  storage: ['file', 'memory'],
  allowAtomic: [true, false],
  denyDelete: [true, false],
  denyPurge: [true, false],
} as const

const same = (value: unknown): unknown => value
const limit = (value: StreamLimit): number => (value === 'unlimited' ? -1 : value)
const nanoseconds = (ms: number): bigint => BigInt(ms) * 1_000_000n

/** Each setting's name at the server, and how it is written there. */
const fields: {
  readonly [K in keyof StreamSettings]: readonly [
    string,
    (value: NonNullable<StreamSettings[K]>, there: StreamConfig) => unknown,
  ]
} = {
  subjects: ['subjects', same],
  sources: ['sources', (sources, there) => sources.map((source) => fromSource(source, there.sources))],
  mirror: ['mirror', (mirror) => fromSource(mirror, undefined)],
  retention: ['retention', same],
  maxAgeMs: ['max_age', (value) => (value === 'unlimited' ? 0 : nanoseconds(value))],
  maxMessages: ['max_msgs', limit],
  maxMessagesPerSubject: ['max_msgs_per_subject', limit],
  maxBytes: ['max_bytes', limit],
  maxMessageBytes: ['max_msg_size', limit],
  discard: ['discard', same],
  discardNewPerSubject: ['discard_new_per_subject', same],
  storage: ['storage', same],
  replicas: ['num_replicas', same],
  duplicateWindowMs: ['duplicate_window', nanoseconds],
  allowAtomic: ['allow_atomic', same],
  denyDelete: ['deny_delete', same],
  denyPurge: ['deny_purge', same],
}
const names = Object.keys(fields) as (keyof StreamSettings)[]

function toSource({
  name,
  filter_subject: subject,
  opt_start_seq: start,
  opt_start_time: time,
  ...rest
}: SourceConfig): StreamSource {
  const other = Object.entries(rest).filter(([, value]) => value !== null && value !== undefined)
  return {
    stream: name,
    ...(subject ? { subject } : {}),
    ...(start ? { startSequence: BigInt(start) } : {}),
    ...(time ? { startTime: Date.parse(time) } : {}),
    ...(other.length === 0 ? {} : { other: apiJson(Object.fromEntries(other)) }),
  }
}

function fromSource(source: StreamSource, there: readonly SourceConfig[] | null | undefined): SourceConfig {
  const kept = there?.find((each) => textOf(toSource(each)) === textOf(source))
  if (kept !== undefined) return kept
  const { stream, subject, startSequence, startTime } = source
  return {
    name: stream,
    ...(subject === undefined ? {} : { filter_subject: subject }),
    ...(startSequence === undefined ? {} : { opt_start_seq: startSequence }),
    ...(startTime === undefined ? {} : { opt_start_time: new Date(startTime).toISOString() }),
  }
}

function limitOf(value: number | bigint | undefined): StreamLimit {
  return value === undefined || value <= 0 ? 'unlimited' : Number(value)
}

function isPositive(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) > 0
}

function sorted(values: readonly string[]): string {
  return JSON.stringify([...values].sort())
}
