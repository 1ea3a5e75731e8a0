import { OptionError, ReflexError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { eventTemplate, typeNameHeader } from '../../core/event-template.ts'
import { formatTimestamp } from '../../core/wire.ts'
import type { Transform } from '../transform.ts'

/**
 * How the attributes of a CloudEvent are named: `kafka` by its binding (`ce_id`, and `content-type`), `nats` by that of NATS (`ce-id`, and
 * `ce-datacontenttype`), which serves destinations without a binding of their own as well, Redis and SQLite.
 */
export type CloudEventsBinding = 'kafka' | 'nats'

/** Options of `cloudEvents`. */
export interface CloudEventsOptions {
  readonly binding: CloudEventsBinding
  /** The context in which the events happened, a URI reference: `/shop/orders`. Together with the event's id it is unique. */
  readonly source: string
  /** A template. Default: the name of the type, from the header `type-name`, or the number where there is none. */
  readonly type?: string | undefined
  /** The media type of the payload. Default: `application/json`. */
  readonly contentType?: string | undefined
}

/** How the header is named that the media type travels in. */
const contentTypeHeaders: Readonly<Record<CloudEventsBinding, string>> = {
  kafka: 'content-type',
  nats: 'ce-datacontenttype',
}

/** What the headers of the attributes begin with. */
export const attributePrefixes: Readonly<Record<CloudEventsBinding, string>> = { kafka: 'ce_', nats: 'ce-' }

/**
 * Makes each event a CloudEvent 1.0 in binary mode: its attributes are headers beside its own, and the payload stays as it is. The id
 * is the event's, the subject its foreignId if that is not empty, the time its timestamp, in µs. A null payload has no media type.
 * Throws an `OptionError` on options that are wrong; on an event, `CLOUD_EVENT_INVALID` where an attribute would hold what CloudEvents
 * forbid, as control characters, and `TEMPLATE_UNFILLED` where it lacks what the template of the type needs.
 *
 * @example compose(typeNames({ 1: 'com.shop.order.created' }), cloudEvents({ binding: 'kafka', source: '/shop/orders' }))
 */
export function cloudEvents({
  binding,
  source,
  type,
  contentType = 'application/json',
}: CloudEventsOptions): Transform {
  const prefix = attributePrefixes[binding]
  if (prefix === undefined)
    throw new OptionError(`cloudEvents: binding must be kafka or nats, but is ${JSON.stringify(binding)}`)
  if (typeof source !== 'string' || !/^[!-~]+$/.test(source))
    throw new OptionError(
      `cloudEvents: source must be a URI reference like /shop/orders, but is ${JSON.stringify(source)}`,
    )
  if (typeof contentType !== 'string' || !/^[!-~]+\/[ -~]+$/.test(contentType) || isStructured(contentType))
    throw new OptionError(
      `cloudEvents: contentType must be the media type of the payload, like application/json, but is ${JSON.stringify(contentType)}`,
    )
  const template = type === undefined ? undefined : eventTemplate('cloudEvents: type', type)

  return (event) => {
    const attributes: Record<string, string> = {
      id: event.id,
      source,
      specversion: '1.0',
      type: template === undefined ? nameOf(event) : template.fill(event),
      time: formatTimestamp(event.timestamp),
      ...(event.foreignId === '' ? {} : { subject: event.foreignId }),
    }
    const headers: Record<string, string | readonly string[]> = { ...event.headers }
    for (const name in attributes) {
      const value = attributes[name] as string
      if (value === '' || /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u.test(value)) throw invalid(event, name, value)
      headers[`${prefix}${name}`] = value
    }
    if (event.metadata !== null) headers[contentTypeHeaders[binding]] = contentType
    return { ...event, headers }
  }
}

/** The name of an event's type, or its number. */
function nameOf({ type, headers }: Event): string {
  const name = Object.hasOwn(headers, typeNameHeader) ? headers[typeNameHeader] : undefined
  return typeof name === 'string' ? name : String(type)
}

/** Whether receivers would take the payload for a CloudEvent in structured mode. */
export function isStructured(contentType: string): boolean {
  return /^application\/cloudevents/i.test(contentType)
}

function invalid({ id }: Event, attribute: string, value: string): ReflexError {
  return new ReflexError(
    'CLOUD_EVENT_INVALID',
    `event ${id}: the attribute ${attribute} of a CloudEvent must be text without control characters that is not empty, but would be ${JSON.stringify(value)}`,
    { retriable: false, kind: 'poison', eventId: id },
  )
}
