import { describe, test } from 'vitest'
import { type Consumer, RunError, run } from '../../src/core/index.ts'
import { ack, batch } from '../../src/patterns/index.ts'
import { conformance, type RunSubject } from '../../src/testing/index.ts'

/** Patterns that, one event at a time, are not to be noticed. */
const patterns: Record<string, (consumer: Consumer) => Consumer> = {
  'batch of one event': (consumer) =>
    batch(
      {
        ...consumer,
        handle: async (events, context) => {
          for (const event of events) await consumer.handle(event, context)
        },
      },
      { maxEvents: 1 },
    ),
  'ack at the end of the handler': (consumer) =>
    ack(
      {
        ...consumer,
        handle: (event, context) => {
          const work = consumer.handle(event, context)
          return work === undefined ? context.ack() : work.then(context.ack)
        },
      },
      { maxUnacked: 1 },
    ),
}

/** `run`, but with the consumer in a pattern. One that is itself at work in the background, or recovers, is refused there. */
function subject(pattern: (consumer: Consumer) => Consumer): RunSubject {
  return {
    run: async (spec, options) => {
      const { consumer } = spec
      if (consumer.settled !== undefined || consumer.recover !== undefined) return run(spec, options)
      try {
        return await run({ ...spec, consumer: pattern(consumer) }, options)
      } catch (error) {
        const { stage, eventId, cause } = error as RunError
        const thrown = (cause as Error).cause // the pattern has named the events
        throw stage === 'handle' && thrown !== undefined
          ? new RunError(stage, { consumer: consumer.name, eventId, cause: thrown })
          : error
      }
    },
  }
}

for (const [name, pattern] of Object.entries(patterns))
  describe(name, () => conformance({ test, of: 'run', runs: 15, seed: 1, create: () => subject(pattern) }))
