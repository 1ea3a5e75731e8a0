import { untilAborted } from '../../core/abort.ts'
import { OptionError, ReflexError } from '../../core/errors.ts'
import { apiJson } from './api-json.ts'
import { createOnServer } from './create-on-server.ts'
import { dangerousChanges, type StreamReply } from './dangerous-changes.ts'
import type { ConnectNats } from './nats-client.ts'
import { connectNats, type JetStreamConnection } from './nats-connection.ts'
import { newStreamConfig } from './new-stream-config.ts'
import { isSince } from './server-version.ts'
import { STREAM_MISSING, type StreamConfig } from './stream-info.ts'
import {
  checkSettings,
  checkStartTimes,
  configOf,
  inWords,
  isSame,
  named,
  type StreamSettings,
  settingsOf,
  type WantedSettings,
} from './stream-settings.ts'
import { checkConnect, checkName } from './subjects.ts'

/** Options of `ensureStream`: how to reach the server, and what the stream is to be. A setting that is left out stays as it is. */
export interface EnsureStreamOptions extends WantedSettings {
  /** Makes a fresh connection: `() => connect({ servers, ...jetstreamFailFast })`. */
  readonly connect: ConnectNats
  /** The stream's name. */
  readonly stream: string
  readonly signal?: AbortSignal | undefined
}

/** What `ensureStream` did. */
export interface EnsuredStream {
  readonly outcome: 'created' | 'updated' | 'unchanged'
  /** What the stream is now. */
  readonly config: StreamSettings
}

/** An update is agreed upon in a cluster. */
const WITHIN_MS = 5000
/** What is there is looked at again when somebody else has created or changed it meanwhile. */
const ATTEMPTS = 3

/**
 * Makes sure that a stream is there and is as asked: creates it, or changes what was named and differs. What is not named keeps
 * its value, or, in a new stream, has JetStream's default; but a new stream is kept in files, on 3 servers of a cluster, and takes
 * atomic batches where the server has them. A new stream needs `subjects`, `sources` or a `mirror`.
 *
 * A change that would lose messages is refused with `STREAM_CHANGE_REFUSED`, which says what would be lost and how to do it by
 * hand; nothing is changed then. So are a limit below what is there now, another storage or retention, fewer replicas or sources,
 * subjects that have messages, and a stream that would remove messages instead of refusing them. What the server's version cannot
 * do is an `OptionError`.
 *
 * Call it for one stream from one place at a time: the server has no compare-and-set of a configuration. A change by somebody else is
 * noticed up to the moment before the update, and judged anew; within that moment it would be overwritten.
 *
 * @example await ensureStream({ connect: () => connect({ servers, ...jetstreamFailFast }), stream: 'SHOP', subjects: ['shop.>'] })
 */
export async function ensureStream({
  connect,
  stream,
  signal,
  ...wanted
}: EnsureStreamOptions): Promise<EnsuredStream> {
  checkName('ensureStream', 'stream', stream)
  const log = `nats:${stream}`
  checkConnect(log, connect)
  checkSettings(log, wanted)
  await using connection = await connectNats(connect, { log, signal })
  return await untilAborted(ensureOn(connection, { log, stream, wanted }), signal)
}

/** As `ensureStream`, over a connection that is there. */
async function ensureOn(connection: JetStreamConnection, { log, stream, wanted }: Asked): Promise<EnsuredStream> {
  checkVersion(log, wanted, connection.version)
  for (let attempt = 1; ; attempt++) {
    const there = await look(connection, stream)
    const done = await (there === undefined
      ? create(connection, { log, stream, wanted })
      : update(connection, { log, stream, wanted, there }))
    if (done !== undefined) return done
    if (attempt === ATTEMPTS)
      throw new ReflexError(
        'STREAM_IN_DISPUTE',
        `${log}: the stream is made, changed or removed by somebody else at the same time: call ensureStream from one place at a time`,
      )
  }
}

async function look({ api }: JetStreamConnection, stream: string): Promise<StreamReply | undefined> {
  return await api<StreamReply | undefined>(`STREAM.INFO.${stream}`, undefined, { unless: [STREAM_MISSING] })
}

interface Asked {
  readonly log: string
  readonly stream: string
  readonly wanted: WantedSettings
}

/** Undefined if there is one by now. */
async function create(
  connection: JetStreamConnection,
  { log, stream, wanted }: Asked,
): Promise<EnsuredStream | undefined> {
  if ((wanted.subjects ?? wanted.sources ?? wanted.mirror) === undefined)
    throw new OptionError(`${log}: there is no such stream: to create it, name its subjects, sources or mirror`)
  checkStartTimes(log, wanted)
  const config = await createOnServer(connection, stream, newStreamConfig(wanted, connection.version))
  return config && { outcome: 'created', config: asAsked(log, wanted, config, connection.version) }
}

/** Undefined if the stream is another one by the time it was judged. */
async function update(
  connection: JetStreamConnection,
  { log, stream, wanted, there }: Asked & { readonly there: StreamReply },
): Promise<EnsuredStream | undefined> {
  const from = settingsOf(there.config)
  const changes: WantedSettings = Object.fromEntries(
    named(wanted)
      .filter((name) => !isSame(name, from[name], wanted[name] as never))
      .map((name) => [name, wanted[name]]),
  )
  if (named(changes).length === 0) return { outcome: 'unchanged', config: from }
  const to = { ...from, ...changes } as StreamSettings
  const takesMore = changes.subjects !== undefined && from.subjects.length === 0
  if (takesMore || changes.sources !== undefined) checkStartTimes(log, to)
  const dangers = await dangerousChanges(connection, { stream, there, from, to })
  if (dangers.length > 0)
    throw new ReflexError(
      'STREAM_CHANGE_REFUSED',
      `${log}: nothing was changed, since that could lose messages: ${dangers.join('; ')}`,
      { retriable: false },
    )
  const now = await look(connection, stream)
  if (now === undefined || apiJson(now.config) !== apiJson(there.config)) return undefined
  const body = { ...there.config, ...configOf(changes, there.config) }
  const { config } = await connection.api<StreamReply>(`STREAM.UPDATE.${stream}`, body, { timeoutMs: WITHIN_MS })
  return { outcome: 'updated', config: asAsked(log, wanted, config, connection.version) }
}

/** Servers before 2.11 pass over what they do not know. */
function checkVersion(log: string, { allowAtomic, sources = [] }: WantedSettings, version: string): void {
  if (allowAtomic && !isSince(version, '2.12'))
    throw new OptionError(`${log}: allowAtomic needs server 2.12 or newer, but this is ${version}: leave it out`)
  const streams = sources.map(({ stream }) => stream)
  if (new Set(streams).size < streams.length && !isSince(version, '2.10'))
    throw new OptionError(
      `${log}: sources that name one stream twice need server 2.10 or newer, but this is ${version}: name it once, with one subject or none`,
    )
}

/** The settings that the server says it has taken. Throws if one of those that were asked for is another one. */
function asAsked(log: string, wanted: WantedSettings, config: StreamConfig, version: string): StreamSettings {
  const settings = settingsOf(config)
  const wrong = named(wanted).filter((name) => !isSame(name, settings[name], wanted[name] as never))
  if (wrong.length === 0) return settings
  const found = wrong.map((name) => `${name} is ${inWords(settings[name])}`).join(', ')
  throw new OptionError(`${log}: server ${version} did not do as asked: ${found}: ask for what it can do`)
}
