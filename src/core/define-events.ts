import type { Consumer } from './consumer.ts'
import { OptionError } from './errors.ts'
import type { Event, Headers, NewEvent } from './event.ts'
import type { Payload } from './payload.ts'

/** The types of event of one stream: a name, an integer type and a payload each. */
export type EventDefinitions = Readonly<
  Record<string, { readonly type: number; readonly payload: Payload<never, unknown> }>
>

type InputOf<D> = D extends { payload: Payload<infer I, infer _> } ? I : never
type OutputOf<D> = D extends { payload: Payload<infer _, infer O> } ? O : never

/** What makes and handles the events that were defined. */
export interface TypedEvents<D extends EventDefinitions> {
  /** An event to insert or append; throws `PayloadError` if `data` is not what was defined. */
  create<N extends keyof D & string>(
    name: N,
    event: {
      readonly foreignId: string
      readonly data: InputOf<D[N]>
      readonly timestamp?: number
      readonly headers?: Headers
    },
  ): Promise<NewEvent>
  /**
   * The `types` and `handle` of a consumer: one handler for each event that is of interest, the others are skipped.
   * A payload that is not what was defined fails the event with `PayloadError`.
   */
  handlers(
    handlers: {
      readonly [N in keyof D]?: (
        data: OutputOf<D[N]>,
        event: Event,
        context: { readonly signal: AbortSignal },
      ) => void | Promise<void>
    },
  ): Required<Pick<Consumer, 'types' | 'handle'>>
}

/**
 * Defines the events of a stream, so that inserting and handling them is typed and checked.
 *
 * @example
 * const orders = defineEvents({ placed: { type: 1, payload: json<{ total: number }>() }, cancelled: { type: 2, payload: none } })
 * await table.insert(connection, await orders.create('placed', { foreignId: '7', data: { total: 12 } }))
 * const consumer = { name: 'billing', ...orders.handlers({ placed: ({ total }, event) => bill(event.foreignId, total) }) }
 */
export function defineEvents<const D extends EventDefinitions>(definitions: D): TypedEvents<D> {
  const nameOf = new Map<number, string>()
  for (const [name, { type }] of Object.entries(definitions)) {
    if (type !== (type | 0)) throw new OptionError(`the type of event ${name} must be a 32-bit integer, but is ${type}`)
    const other = nameOf.get(type)
    if (other !== undefined)
      throw new OptionError(`the events ${other} and ${name} have the same type ${type}: each needs its own`)
    nameOf.set(type, name)
  }
  const definitionOf = (name: string): EventDefinitions[string] => {
    const definition = Object.hasOwn(definitions, name) ? definitions[name] : undefined
    if (definition === undefined)
      throw new OptionError(`there is no event ${name}: expected one of ${Object.keys(definitions).join(', ')}`)
    return definition
  }
  return {
    create: async (name, { foreignId, data, timestamp, headers }) => {
      const { type, payload } = definitionOf(name)
      const metadata = await payload.encode(data as never, `event ${name}`)
      return {
        type,
        foreignId,
        metadata,
        ...(timestamp === undefined ? {} : { timestamp }),
        ...(headers === undefined ? {} : { headers }),
      }
    },
    handlers: (handlers) => {
      const byType = new Map(
        Object.entries(handlers).map(([name, handle]) => {
          const { type, payload } = definitionOf(name)
          return [
            type,
            {
              payload,
              handle: handle as (data: unknown, event: Event, context: { signal: AbortSignal }) => void | Promise<void>,
            },
          ]
        }),
      )
      return {
        types: [...byType.keys()],
        handle: (event, context) => {
          const known = byType.get(event.type)
          if (known === undefined) return
          const data = known.payload.decode(event.metadata, `event ${event.id} (${nameOf.get(event.type)})`)
          return data instanceof Promise
            ? data.then((value) => known.handle(value, event, context))
            : known.handle(data, event, context)
        },
      }
    },
  }
}
