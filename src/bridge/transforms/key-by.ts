import type { Event } from '../../core/event.ts'
import { eventTemplate } from '../../core/event-template.ts'
import type { Transform } from '../transform.ts'
import { transformInvalid } from '../transform-invalid.ts'

/**
 * Makes the key of each event, its foreignId, by a template or a function: what has one key stays in order, and in Kafka in one
 * partition. The foreignId that the event had is lost, unless a header has kept it. Throws an `OptionError` on a template that cannot be
 * read; on an event, `TEMPLATE_UNFILLED` where it lacks what the template needs.
 *
 * @example compose(addHeaders({ order: '{foreignId}' }), keyBy('{headers.customer}'))
 */
export function keyBy(key: string | ((event: Event) => string)): Transform {
  const keyOf = typeof key === 'function' ? key : templateOf(key)
  return (event) => {
    const foreignId: unknown = keyOf(event)
    if (typeof foreignId === 'string') return { ...event, foreignId }
    throw transformInvalid(event.id, 'the function of a key must return a string', foreignId)
  }
}

function templateOf(key: string): (event: Event) => string {
  const template = eventTemplate('keyBy: the key', key)
  return (event) => template.fill(event)
}
