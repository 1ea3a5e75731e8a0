import type { Consumer } from '../core/consumer.ts'

/** A plain consumer that hands everything on to `consumer`, which may be an instance of a class: what decorates it replaces members. */
export function forwardConsumer(consumer: Consumer): Consumer {
  const { name, types } = consumer
  return {
    name,
    handle: (event, context) => consumer.handle(event, context),
    ...(types && { types }),
    ...(consumer.filter && { filter: (event) => consumer.filter?.(event) ?? true }),
    ...(consumer.recover && { recover: (error, event, context) => consumer.recover?.(error, event, context) }),
    ...(consumer.start && { start: (context) => consumer.start?.(context) }),
    ...(consumer.stop && { stop: (context) => consumer.stop?.(context) }),
    ...(consumer.settled && { settled: () => consumer.settled?.() }),
  }
}
