import type { Consumer } from '../core/consumer.ts'
import { messageOf, OptionError } from '../core/errors.ts'
import type { Event } from '../core/event.ts'
import { checkLimit } from './check-limit.ts'
import { stableId } from './cursor-vector.ts'
import { fnv1 } from './fnv1.ts'

/** By what events are spread over shards. */
export type ShardKey = 'id' | 'foreignId' | 'type' | ((event: Event) => string)

/** Options of `parallel`. */
export interface ParallelOptions {
  /** How many. The number is part of the names, so a changed one starts over, unless `reshard` comes first. */
  readonly shards: number
  /**
   * `foreignId` keeps the order of each entity, `type` that of each type. `id` spreads best and keeps no order; it is what luno/reflex
   * does unless it is told otherwise; of an event of `merge` it is what `originOf` gives, which is the same for all shards.
   */
  readonly by: ShardKey
}

/** One of several consumers that share the events of a stream. */
export interface Shard {
  /** From 1 on. */
  readonly number: number
  readonly shards: number
}

/**
 * Makes `shards` consumers of one: each reads the whole stream under a name and a cursor of its own, and handles the events whose key
 * falls to it; the others it skips. Run all of them, in one process or in many, over the same stream. Names and hashing are those of
 * luno/reflex's `rpatterns.Parallel` (`NAME_1_of_4`, FNV-1), so services of both kinds can share the shards.
 *
 * A consumer with a state (`start`, `stop` or `settled`, as `batch` and `concurrent` have) is given as a function, which makes one for
 * each shard. An event of which `by` makes no key fails them all; what decorates a shard, as `bestEffort`, may pass it. Throws an `OptionError` where it is not, and where `shards` is not a whole number from 1 on.
 *
 * @example
 * const shards = parallel({ name: 'mailer', handle: (event) => send(event) }, { shards: 4, by: 'foreignId' })
 * await Promise.all(shards.map((consumer) => supervise((o) => run({ stream, cursors, consumer }, o), { signal })))
 */
export function parallel(consumer: Consumer | ((shard: Shard) => Consumer), options: ParallelOptions): Consumer[] {
  const { shards, by } = options
  checkLimit('parallel', 'shards', shards)
  const keyOf = shardKey(by)
  const thrown = new WeakSet<object>()
  const shardOf = (event: Event): number => {
    try {
      return fnv1(keyOf(event)) % shards
    } catch (cause) {
      const error = new OptionError(
        `parallel: by must return a string for each event, but for event ${event.id} it failed: ${messageOf(cause)}`,
        cause,
      )
      thrown.add(error)
      throw error
    }
  }
  return Array.from({ length: shards }, (_, index) => {
    const shard = { number: index + 1, shards }
    const inner = typeof consumer === 'function' ? consumer(shard) : consumer
    const { name, types, filter, recover, start, stop, settled } = inner
    if (typeof consumer !== 'function' && shards > 1 && (start ?? stop ?? settled) !== undefined)
      throw new OptionError(
        `parallel: consumer ${JSON.stringify(name)} has a state (start, stop or settled), which shards cannot share: give a function that makes one for each`,
      )
    return {
      name: shardName(name, shard),
      handle: (event, context) => inner.handle(event, context),
      ...(types === undefined ? {} : { types }),
      filter: (event) => shardOf(event) === index && (filter === undefined || filter.call(inner, event)),
      ...(recover === undefined
        ? {}
        : {
            recover: (...about: Parameters<typeof recover>) => {
              if (thrown.has(about[0] as object)) throw about[0] // every shard would go past it, or each handle it
              return recover.apply(inner, about)
            },
          }),
      ...(start === undefined ? {} : { start: (context: Parameters<typeof start>[0]) => start.call(inner, context) }),
      ...(stop === undefined ? {} : { stop: (context: Parameters<typeof stop>[0]) => stop.call(inner, context) }),
      ...(settled === undefined ? {} : { settled: () => settled.call(inner) }),
    }
  })
}

/** The name of a shard's consumer, as luno/reflex has it. */
export function shardName(name: string, { number, shards }: Shard): string {
  return `${name}_${number}_of_${shards}`
}

function shardKey(by: ShardKey): (event: Event) => string {
  if (typeof by === 'function') return by
  if (by === 'id') return ({ id }) => stableId(id)
  if (by === 'foreignId') return ({ foreignId }) => foreignId
  if (by === 'type') return ({ type }) => String(type)
  throw new OptionError(
    `parallel: by must be 'id', 'foreignId', 'type' or a function, but is ${JSON.stringify(by)}: it decides whose order is kept`,
  )
}
