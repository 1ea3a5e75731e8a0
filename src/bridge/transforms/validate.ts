import { messageOf, OptionError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import type { StandardSchema } from '../../core/payload.ts'
import type { Transform } from '../transform.ts'
import { EventInvalidError } from './event-invalid-error.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * Holds the payload of each event against a schema: any Standard Schema (zod, valibot, arktype, …). The event is not changed, what the
 * schema makes of it is not used. `decode` makes the value of an event; default: its payload as JSON, and null of a null one. Throws
 * an `EventInvalidError`, on an event, if the schema refuses it or it cannot be decoded; and an `OptionError` if the schema answers with a
 * promise: a transform is synchronous.
 *
 * @example validate(z.object({ total: z.number() }))
 */
export function validate(
  schema: StandardSchema<unknown, unknown>,
  decode: (event: Event) => unknown = jsonOf,
): Transform {
  const standard = (schema as Partial<StandardSchema> | undefined)?.['~standard']
  if (standard?.version !== 1 || typeof standard.validate !== 'function')
    throw new OptionError('validate: expected a schema with the interface of https://standardschema.dev, version 1')
  const { vendor } = standard
  return (event) => {
    const result = standard.validate(payloadOf(event))
    if ('then' in result) {
      result.then(undefined, () => {}) // nobody awaits it
      throw new OptionError(
        `validate: the ${vendor} schema answered with a promise at event ${event.id}, but a transform is synchronous: take what is asynchronous out of the schema`,
      )
    }
    if (result.issues === undefined) return event
    const issues = result.issues.map(({ message, path = [] }) => ({
      path: path.map((part) => String(typeof part === 'object' ? part.key : part)).join('.'),
      message,
    }))
    throw new EventInvalidError(event.id, { vendor, issues })
  }

  function payloadOf(event: Event): unknown {
    try {
      return decode(event)
    } catch (cause) {
      const issues = [{ path: '', message: `what cannot be decoded: ${messageOf(cause)}` }]
      throw new EventInvalidError(event.id, { vendor, issues, cause })
    }
  }
}

function jsonOf({ metadata }: Event): unknown {
  return metadata === null ? null : JSON.parse(utf8.decode(metadata))
}
