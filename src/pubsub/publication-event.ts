import { OptionError } from '../core/errors.ts'
import type { Headers, NewEvent } from '../core/event.ts'
import { typeNameHeader } from '../core/event-template.ts'
import { type DataCodec, nilCodec } from './data-codec.ts'
import { headerNames } from './header-names.ts'
import { checkTrace, type TraceContext } from './trace-context.ts'

/** An event as it is published. */
export type Publication<T> = Described &
  (
    | { readonly data: T; readonly codec: DataCodec<T, unknown> }
    | { readonly data?: undefined; readonly codec?: undefined }
  )

interface Described {
  /** What happened; a signed 32-bit integer. Default: 0. */
  readonly type?: number | undefined
  /** Its name; the header `type-name`, which a JetStream subject calls `{typeName}`. */
  readonly typeName?: string | undefined
  /** The entity (aggregate) that it is about, and the ordering key. Default: `""`. */
  readonly foreignId?: string | undefined
  /** When it happened, epoch in ms. Default: now. */
  readonly timestamp?: number | undefined
  /** The id of the event that caused it. `causedBy` gives this and the two below. */
  readonly cause?: string | undefined
  /** What all events of one process have in common: mostly the id of the first. */
  readonly correlation?: string | undefined
  readonly trace?: TraceContext | undefined
  /** More headers. */
  readonly headers?: Headers | undefined
}

/** Who publishes, and under which key. */
export interface PublishedBy {
  readonly client: string
  readonly idempotencyKey?: string | undefined
}

const reserved: ReadonlySet<string> = new Set([...Object.values(headerNames), typeNameHeader])

/**
 * The event of a publication, for logs that are not published to but inserted into: an event table, in the transaction of what has
 * happened. `subscribe` reads it in the same way, from the table and after a bridge. Rejects with `PAYLOAD_INVALID` if the data is not
 * what its codec carries, and an `OptionError` on a header that has an option of its own.
 *
 * @example await events.insert(connection, await publicationEvent({ type: 1, foreignId: '7', codec: jsonCodec(), data: { total: 12 } }, { client: 'web-1' }))
 */
export async function publicationEvent<T>(publication: Publication<T>, by: PublishedBy): Promise<NewEvent> {
  const { type = 0, typeName, foreignId = '', timestamp, cause, correlation, trace, headers = {} } = publication
  if (type !== (type | 0)) throw new OptionError(`publish: type must be a 32-bit integer, but is ${type}`)
  const clash = Object.keys(headers).find((name) => reserved.has(name))
  if (clash !== undefined) throw new OptionError(`publish: the header ${clash} is made of an option: give that instead`)
  checkTrace(trace)
  const { encoding, dataType, payload } = (publication.codec ?? nilCodec) as DataCodec<T | undefined, unknown>
  const metadata = await payload.encode(publication.data, `event ${typeName ?? type} of ${foreignId}`)
  const own: Record<string, string | undefined> = {
    [typeNameHeader]: typeName,
    [headerNames.encoding]: encoding,
    [headerNames.dataType]: dataType,
    [headerNames.client]: by.client,
    [headerNames.idempotencyKey]: by.idempotencyKey,
    [headerNames.cause]: cause,
    [headerNames.correlation]: correlation,
    [headerNames.traceparent]: trace?.traceparent,
    [headerNames.tracestate]: trace?.tracestate,
  }
  const given = Object.entries(own).filter((each): each is [string, string] => each[1] !== undefined)
  return {
    type,
    foreignId,
    metadata,
    headers: { ...Object.fromEntries(given), ...headers },
    ...(timestamp === undefined ? {} : { timestamp }),
  }
}
