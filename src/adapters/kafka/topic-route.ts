import { OptionError, ReflexError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { eventTemplate } from '../../core/event-template.ts'

/** Topics by a function. */
export interface TopicsByFunction {
  /** Stands for the topics where the route has to have a name in Kafka; stays as it is for as long as the route lives. */
  readonly name: string
  /** The topic of an event, one of `topics`. For an event always the same. */
  readonly of: (event: Event) => string
}

/** Where the events of a route go. */
export interface TopicRoute {
  /** Names the destination, and with it the route's checkpoint and transactional id. */
  readonly name: string
  readonly topics: readonly string[]
  /** The topic, if the option names just one. */
  readonly only: string | undefined
  /** The topic of an event. Throws `EVENT_UNROUTABLE` if it is none of `topics`. */
  of(event: Event): string
}

/** Reads the options `topic` and `topics` of a sink. Throws an `OptionError` that says what was expected. */
export function topicRoute(topic: unknown, topics: unknown): TopicRoute {
  if (typeof topic === 'string' && topic !== '' && !topic.includes('{')) {
    if (topics !== undefined)
      throw new OptionError(`kafka: topics go with a topic that is a template or a function, but it is ${topic}`)
    return { name: topic, topics: [topic], only: topic, of: () => topic }
  }
  const { name, of } = typeof topic === 'string' ? byTemplate(topic) : byFunction(topic)
  const isTopic = (each: unknown): boolean => typeof each === 'string' && /^[\w.-]{1,249}$/.test(each)
  if (!Array.isArray(topics) || topics.length === 0 || !topics.every(isTopic))
    throw new OptionError(
      `kafka:${name}: topics must be a list of all topics that events may go to, since each is looked at on opening, but is ${JSON.stringify(topics)}`,
    )
  const known: ReadonlySet<unknown> = new Set(topics)
  return {
    name,
    topics: [...known] as string[],
    only: undefined,
    of: (event) => {
      const found: unknown = of(event)
      if (known.has(found)) return found as string
      throw new ReflexError(
        'EVENT_UNROUTABLE',
        `kafka:${name}: event ${event.id} goes to ${JSON.stringify(found)}, but the topics are ${topics.join(', ')}: add it to them, or have it filtered out`,
        { retriable: false, kind: 'poison', eventId: event.id },
      )
    },
  }
}

function byTemplate(text: string): TopicsByFunction {
  const template = eventTemplate('kafka: topic', text)
  return { name: text, of: (event) => template.fill(event) }
}

function byFunction(topic: unknown): TopicsByFunction {
  const { name, of } = (topic ?? {}) as Partial<TopicsByFunction>
  if (typeof name === 'string' && name !== '' && typeof of === 'function') return { name, of }
  throw new OptionError(
    `kafka: topic must be a name, a template like orders.{type}, or a name and a function, { name, of }, but is ${JSON.stringify(topic)}`,
  )
}
