import { decodeHeaderText, wireNames } from '../../core/wire.ts'
import { isRefusal, type JetStreamConnection } from './nats-connection.ts'

/** What a route has to know of a message of the stream. */
export interface StoredMessage {
  readonly seq: bigint
  readonly subject: string
  /** The name of the source and the event's id there; undefined if no bridge has written it. */
  readonly source: string | undefined
  readonly sourceId: string | undefined
}

interface ApiMessage {
  readonly seq: number
  readonly subject: string
  /** Base64. */
  readonly hdrs?: string
}

/** JetStream's code for a message that is not there. */
const MESSAGE_MISSING = 10037

/** The message of a sequence, or the newest of a subject, which may have wildcards; undefined if there is none. */
export async function findMessage(
  connection: JetStreamConnection,
  stream: string,
  which: { readonly seq: bigint } | { readonly last_by_subj: string },
): Promise<StoredMessage | undefined> {
  const body = 'seq' in which ? `{"seq":${which.seq}}` : JSON.stringify(which)
  try {
    const { message } = await connection.request<{ message: ApiMessage }>(`$JS.API.STREAM.MSG.GET.${stream}`, body)
    return storedMessage(message)
  } catch (error) {
    if (isRefusal(error, MESSAGE_MISSING)) return undefined
    throw error
  }
}

/** The newest message between two sequences, looked for one by one: those between may have been deleted. */
export async function findBackwards(
  connection: JetStreamConnection,
  stream: string,
  { first_seq, last_seq }: { readonly first_seq: number; readonly last_seq: number },
): Promise<StoredMessage | undefined> {
  for (let seq = BigInt(last_seq); seq >= BigInt(first_seq); seq--) {
    const found = await findMessage(connection, stream, { seq })
    if (found !== undefined) return found
  }
  return undefined
}

function storedMessage({ seq, subject, hdrs = '' }: ApiMessage): StoredMessage {
  const lines = Buffer.from(hdrs, 'base64').toString('utf8').split('\r\n')
  const header = (name: string): string | undefined => {
    const line = lines.find((each) => each.startsWith(`${name}:`))
    if (line === undefined) return undefined
    const value = line.slice(name.length + 1).trim()
    try {
      return decodeHeaderText(value)
    } catch {
      return value // no bridge has written that
    }
  }
  return { seq: BigInt(seq), subject, source: header(wireNames.source), sourceId: header(wireNames.sourceId) }
}
