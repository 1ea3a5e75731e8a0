import type { CursorStore } from '../../core/cursor.ts'
import { CursorConflictError, codeOf, OptionError, ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import { onDemand } from '../../core/on-demand.ts'
import { decodeKey, encodeKey } from './bucket-key.ts'
import { headerBlock } from './codec.ts'
import { createOnServer } from './create-on-server.ts'
import type { ConnectNats } from './nats-client.ts'
import { connectNats, isRefusal, type JetStreamConnection } from './nats-connection.ts'
import { findStream, type StreamConfig } from './stream-info.ts'
import { bucketRisks } from './stream-risks.ts'
import { subjectCounts } from './subject-counts.ts'
import { checkConnect, checkName } from './subjects.ts'

/** Options of `jetstreamCursors`. */
export interface JetStreamCursorsOptions {
  /** Makes a fresh connection: `() => connect({ servers, ...jetstreamFailFast })`. */
  readonly connect: ConnectNats
  /** The key-value bucket; `createBucket` makes it. */
  readonly bucket: string
}

/** A cursor store in a NATS key-value bucket. */
export interface JetStreamCursors extends CursorStore {
  /** Creates the bucket if it is missing: in files, with one value a key. Default of `replicas`: 3, or 1 at a server that is alone. */
  createBucket(options?: { readonly replicas?: number | undefined }): Promise<void>
  /** What of the bucket's settings can lose cursors, in words for an operator; nothing if there is no bucket. Changes nothing. */
  audit(options?: { signal?: AbortSignal | undefined }): Promise<readonly string[]>
}

/** A cursor with its revision, 0 if there is none. */
interface Entry {
  readonly cursor: Cursor
  readonly reset: boolean
  readonly revision: bigint
}

interface StoredMessage {
  readonly message: { readonly seq: bigint; readonly hdrs?: string; readonly data?: string }
}

const NO_MESSAGE = 10037
/** Another revision is the last one, which the server may name or not. */
const WRONG_SEQUENCE = [10071, 10164]
/** Present in an entry that an operator's reset wrote. */
const RESET = 'reflex-reset'
/** How many keys are read at once by `list`. */
const CONCURRENCY = 32

/**
 * Cursors in a NATS key-value bucket, a key per consumer, whose value is the cursor: `nats kv get <bucket> <consumer>` shows it. What
 * is not a letter, digit, `-`, `_` or `/` in the name of a consumer is `=` and two hexadecimal digits a byte in its key. Each `set` is
 * one message that is stored only upon the revision that was last seen.
 *
 * @example jetstreamCursors({ connect: () => connect({ servers, ...jetstreamFailFast }), bucket: 'cursors' })
 */
export function jetstreamCursors({ connect, bucket }: JetStreamCursorsOptions): JetStreamCursors {
  checkName('jetstreamCursors', 'bucket', bucket)
  if (!/^[\w-]+$/.test(bucket)) {
    throw new OptionError(
      `jetstreamCursors: bucket must be of letters, digits, - and _, but is ${JSON.stringify(bucket)}`,
    )
  }
  const log = `nats:$KV.${bucket}`
  checkConnect(log, connect)
  const stream = `KV_${bucket}`
  const prefix = `$KV.${bucket}.`
  const { use } = onDemand((signal) => connectNats(connect, { log, signal }))
  const lastSeen = new Map<string, Entry>()

  async function read(connection: JetStreamConnection, key: string): Promise<Entry> {
    const found = await connection
      .api<StoredMessage | undefined>(
        `STREAM.MSG.GET.${stream}`,
        { last_by_subj: prefix + key },
        { unless: [NO_MESSAGE] },
      )
      .catch(explain)
    const entry = found === undefined ? { cursor: '', reset: false, revision: 0n } : toEntry(found)
    lastSeen.set(key, entry)
    return entry
  }

  /** Stores upon a revision. Resolves with whether that was still the last one. */
  async function write(
    connection: JetStreamConnection,
    key: string,
    cursor: Cursor,
    over: Entry | undefined,
    reset = false,
  ) {
    const expected = over === undefined ? '' : `Nats-Expected-Last-Subject-Sequence: ${over.revision}\r\n`
    const headers = headerBlock(`${expected}${reset ? `${RESET}: 1\r\n` : ''}`)
    try {
      const { seq } = await connection.request<{ seq: number }>(prefix + key, textOf(cursor), headers)
      lastSeen.set(key, { cursor, reset, revision: BigInt(seq) })
      return true
    } catch (error) {
      if (WRONG_SEQUENCE.some((code) => isRefusal(error, code))) return false
      return explain(error)
    }
  }

  function explain(error: unknown): never {
    // A message into a bucket that is missing is answered by nobody.
    if (codeOf(error) !== 'JETSTREAM_10059' && codeOf(error) !== 'NATS_NO_RESPONDERS') throw error
    throw new ReflexError(
      'JETSTREAM_10059',
      `${log}: there is no bucket ${bucket}, or JetStream is off: create it with createBucket(), or with nats kv add ${bucket}`,
      { cause: error, retriable: false },
    )
  }

  const keyOf = (consumer: string): string => encodeKey(log, consumer)
  const textOf = (cursor: string): string => {
    if (cursor.isWellFormed()) return cursor
    throw new OptionError(
      `${log}: a cursor must be well-formed Unicode, but is ${JSON.stringify(cursor.slice(0, 100))}`,
    )
  }

  return {
    get: async (consumer, { signal } = {}) => {
      const key = keyOf(consumer)
      return use(async (connection) => (await read(connection, key)).cursor, signal)
    },
    set: async (consumer, cursor, expected) => {
      const key = keyOf(consumer)
      await use(async (connection) => {
        const seen = lastSeen.get(key)
        if (seen !== undefined && seen.cursor === expected && (await write(connection, key, cursor, seen))) return
        for (;;) {
          const entry = await read(connection, key)
          const { cursor: actual, reset } = entry
          if (actual === cursor && !reset) return
          if (actual !== cursor && actual !== expected)
            throw new CursorConflictError({ consumer, expected, actual, reset })
          if (await write(connection, key, cursor, entry)) return
        }
      })
    },
    reset: async (consumer, cursor) => {
      const key = keyOf(consumer)
      await use((connection) => write(connection, key, cursor, undefined, true))
    },
    list: () =>
      use(async (connection) => {
        const subjects = (await subjectCounts(connection, stream, `${prefix}>`).catch(explain)).keys()
        const keys = Array.from(subjects, (subject) => subject.slice(prefix.length)).sort()
        const stored = new Map<string, Cursor>()
        for (let i = 0; i < keys.length; i += CONCURRENCY) {
          const part = keys.slice(i, i + CONCURRENCY)
          const entries = await Promise.all(part.map((key) => read(connection, key)))
          for (const [j, key] of part.entries()) stored.set(decodeKey(key), (entries[j] as Entry).cursor)
        }
        return stored
      }),
    createBucket: ({ replicas } = {}) =>
      use(async (connection) => {
        if ((await findStream(connection, stream)) !== undefined) return
        await createOnServer(connection, stream, bucketConfig(`${prefix}>`, replicas))
      }),
    audit: ({ signal } = {}) =>
      use(async (connection) => {
        const found = await findStream(connection, stream)
        return found === undefined ? [] : bucketRisks(found.config, connection)
      }, signal),
  }
}

/** As the clients make a bucket. */
function bucketConfig(subject: string, replicas: number | undefined): StreamConfig {
  return {
    subjects: [subject],
    retention: 'limits',
    storage: 'file',
    ...(replicas === undefined ? {} : { num_replicas: replicas }),
    max_msgs_per_subject: 1,
    max_msgs: -1,
    max_bytes: -1,
    max_age: 0,
    max_msg_size: -1,
    discard: 'new',
    allow_rollup_hdrs: true,
    deny_delete: true,
    deny_purge: false,
    allow_direct: true,
  }
}

function toEntry({ message: { seq, hdrs = '', data = '' } }: StoredMessage): Entry {
  const headers = Buffer.from(hdrs, 'base64').toString('latin1')
  const isDeleted = /^KV-Operation: *(DEL|PURGE)\r$/m.test(headers)
  return {
    cursor: Buffer.from(data, 'base64').toString(), // a deleted key has none
    reset: isDeleted || headers.includes(`\r\n${RESET}:`),
    revision: seq,
  }
}
