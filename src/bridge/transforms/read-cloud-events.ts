import { messageOf, OptionError, ReflexError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { typeNameHeader } from '../../core/event-template.ts'
import { parseTimestamp, wireNames } from '../../core/wire.ts'
import type { Transform } from '../transform.ts'
import { attributePrefixes, type CloudEventsBinding, isStructured } from './cloud-events.ts'

/** Options of `readCloudEvents`. */
export interface ReadCloudEventsOptions {
  /** How the attributes are named, as with `cloudEvents`. */
  readonly binding: CloudEventsBinding
  /** The numbers of the types. A type that is not among them is read as a number, or else leaves the event's own. */
  readonly types?: Readonly<Record<string, number>> | undefined
}

/**
 * Reads CloudEvents 1.x in binary mode, whoever wrote them: the type's number and, in the header `type-name`, its name, the foreignId of
 * the subject, the timestamp of the time; what is not there stays as it was. The headers stay, too. Throws, on an event,
 * `CLOUD_EVENT_INVALID` if it is no CloudEvent, or one in structured mode.
 */
export function readCloudEvents({ binding, types = {} }: ReadCloudEventsOptions): Transform {
  const prefix = attributePrefixes[binding]
  if (prefix === undefined)
    throw new OptionError(`readCloudEvents: binding must be kafka or nats, but is ${JSON.stringify(binding)}`)
  for (const [name, type] of Object.entries(types))
    if (type !== (type | 0))
      throw new OptionError(`readCloudEvents: the type ${name} must be a 32-bit integer, but is ${type}`)

  return (event) => {
    // Header names of NATS have no case.
    const headers = new Map(Object.entries(event.headers).map(([name, value]) => [name.toLowerCase(), value]))
    // What a bridge has written was decoded by the source; what others wrote stands there as it was published.
    const decode = binding === 'nats' && !headers.has(wireNames.source) ? percentDecoded : (value: string) => value
    const attribute = (name: string): string | undefined => {
      const value = headers.get(`${prefix}${name}`)
      return typeof value === 'string' ? decode(value) : undefined
    }
    try {
      const contentType = headers.get('content-type')
      if (typeof contentType === 'string' && isStructured(contentType))
        throw new TypeError(`found one in structured mode: ${contentType}`)
      for (const name of ['id', 'source', 'specversion', 'type'])
        if (!attribute(name)) throw new TypeError(`found no header ${prefix}${name}`)
      if (!attribute('specversion')?.startsWith('1.'))
        throw new TypeError(`found the version ${attribute('specversion')}`)
      const name = attribute('type') as string
      const number = Object.hasOwn(types, name)
        ? types[name]
        : String(Number(name) | 0) === name
          ? Number(name)
          : undefined
      const time = attribute('time')
      return {
        ...event,
        type: number ?? event.type,
        foreignId: attribute('subject') ?? event.foreignId,
        timestamp: time === undefined ? event.timestamp : parseTimestamp(time),
        headers: { ...event.headers, [typeNameHeader]: name },
      }
    } catch (cause) {
      throw invalid(event, cause)
    }
  }
}

/** By section 3.1.3.2 of the binding of NATS. Throws on what is not UTF-8. */
function percentDecoded(value: string): string {
  const quoted = /^"(.*)"$/s.exec(value)?.[1]
  return decodeURIComponent(quoted === undefined ? value : quoted.replace(/\\(.)/gs, '$1'))
}

function invalid({ id }: Event, cause: unknown): ReflexError {
  return new ReflexError(
    'CLOUD_EVENT_INVALID',
    `event ${id}: expected a CloudEvent 1.0 in binary mode, but ${messageOf(cause)}`,
    { cause, retriable: false, kind: 'poison', eventId: id },
  )
}
