import { CursorAheadError, CursorTrimmedError, OptionError } from '../../core/errors.ts'
import type { JetStreamConnection } from './nats-connection.ts'

/** A stream at a moment: what it is, and what it holds. */
export interface StreamInfo {
  /** When it was made, which tells it from an earlier one of the same name. */
  readonly incarnation: string
  /** The sequence of the earliest message; after the last one if there is none. */
  readonly first: bigint
  /** The sequence of the newest message that it ever had. */
  readonly last: bigint
  readonly config: StreamConfig
}

/** What is looked at of a stream's configuration. */
export interface StreamConfig {
  readonly subjects?: readonly string[] | null
  readonly retention?: string
  readonly storage?: string
  readonly discard?: string
  readonly discard_new_per_subject?: boolean
  readonly max_msgs?: number
  readonly max_bytes?: number
  /** In ns; bigint if it is more than a double can count. */
  readonly max_age?: number | bigint
  readonly max_msgs_per_subject?: number
  readonly max_msg_size?: number
  readonly duplicate_window?: number | bigint
  readonly allow_atomic?: boolean
  readonly no_ack?: boolean
  readonly sealed?: boolean
  readonly deny_delete?: boolean
  readonly deny_purge?: boolean
  readonly mirror?: SourceConfig | null
  readonly sources?: readonly SourceConfig[] | null
  readonly subject_transform?: object | null
  readonly num_replicas?: number
  readonly allow_rollup_hdrs?: boolean
  readonly allow_direct?: boolean
}

/** A stream that is copied from. */
export interface SourceConfig {
  readonly name: string
  readonly filter_subject?: string
  readonly opt_start_seq?: number | bigint
  readonly opt_start_time?: string
}

interface InfoReply {
  readonly created: string
  readonly config: StreamConfig
  readonly state: { readonly first_seq: bigint; readonly last_seq: bigint }
}

/** JetStream's code for a stream that is not there. */
export const STREAM_MISSING = 10059

/** Asks for a stream, as its leader sees it. Rejects with `JETSTREAM_10059` if there is none. */
export async function streamInfo({ api }: JetStreamConnection, stream: string): Promise<StreamInfo> {
  return toInfo(await api<InfoReply>(`STREAM.INFO.${stream}`))
}

/** As `streamInfo`; undefined if there is none. */
export async function findStream(
  { api }: JetStreamConnection,
  stream: string,
  timeoutMs?: number,
): Promise<StreamInfo | undefined> {
  const options = { unless: [STREAM_MISSING], ...(timeoutMs === undefined ? {} : { timeoutMs }) }
  const reply = await api<InfoReply | undefined>(`STREAM.INFO.${stream}`, undefined, options)
  return reply && toInfo(reply)
}

function toInfo({ created, config, state }: InfoReply): StreamInfo {
  return { incarnation: created, first: state.first_seq, last: state.last_seq, config }
}

/** Refuses a stream that removes what its consumers have acknowledged: a position in it means nothing. */
export function checkRetention(log: string, { config: { retention } }: StreamInfo): void {
  if (retention === undefined || retention === 'limits') return
  throw new OptionError(
    `${log}: the stream has retention "${retention}", which removes what any consumer has acknowledged, so that a reader cannot know what it missed: use a stream with retention "limits"`,
  )
}

/**
 * Throws unless this is the stream `incarnation` and everything that was ever stored in it after `position`, but for single messages
 * that were deleted, is still there, or was when it had been received: retention and purges remove from the front.
 */
export function provePosition(log: string, position: bigint, info: StreamInfo, incarnation: string): void {
  const cursor = String(position)
  if (info.incarnation !== incarnation) {
    throw new CursorAheadError(log, {
      cursor: `${cursor}@${incarnation}`,
      reason: 'recreated',
      found: `of ${info.incarnation}`,
    })
  }
  if (position > info.last) throw new CursorAheadError(log, { cursor, reason: 'beyond', found: String(info.last) })
  if (info.first > position + 1n) throw new CursorTrimmedError(log, { cursor, earliest: String(info.first) })
}
