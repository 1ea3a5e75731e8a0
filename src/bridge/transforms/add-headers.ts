import { OptionError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { eventTemplate } from '../../core/event-template.ts'
import { wireNames } from '../../core/wire.ts'
import type { Transform } from '../transform.ts'
import { transformInvalid } from '../transform-invalid.ts'

/** The text of a header: a template as of `eventTemplate`, without places a constant; or a function, undefined for no such header. */
export type HeaderValue = string | ((event: Event) => string | undefined)

const reserved: ReadonlySet<string> = new Set(Object.values(wireNames))

/**
 * Sets headers, in place of those that have the same name. Throws an `OptionError` on a name that the wire needs for itself, and on a
 * template that cannot be read; on an event, `TEMPLATE_UNFILLED` where it lacks what a template needs.
 *
 * @example addHeaders({ tenant: 'acme', entity: 'order/{foreignId}', 'event-type': '{typeName}' })
 */
export function addHeaders(headers: Readonly<Record<string, HeaderValue>>): Transform {
  const values = Object.entries(headers).map(([name, value]) => {
    if (name === '' || reserved.has(name))
      throw new OptionError(`addHeaders: ${JSON.stringify(name)} cannot be set: choose another name`)
    if (typeof value === 'function') return { name, valueFor: value }
    const template = eventTemplate(`addHeaders: ${name}`, value)
    return { name, valueFor: (event: Event): string => template.fill(event) }
  })
  return (event) => {
    const added: Record<string, string> = {}
    for (const { name, valueFor } of values) {
      const value: unknown = valueFor(event)
      if (value === undefined) continue
      if (typeof value !== 'string')
        throw transformInvalid(event.id, `the function of the header ${name} must return a string or undefined`, value)
      Object.defineProperty(added, name, { value, enumerable: true })
    }
    return { ...event, headers: { ...event.headers, ...added } }
  }
}
