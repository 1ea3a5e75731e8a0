import type { Consumer } from './consumer.ts'
import { OptionError, ReflexError } from './errors.ts'
import type { Batch } from './event.ts'
import { checkTypes, type StreamFunc } from './stream.ts'

/** Refuses what is no consumer or no stream: a mistake of the program is not retried. */
export function checkSpec({
  stream,
  consumer,
  delayMs,
}: {
  readonly stream: StreamFunc
  readonly consumer: Consumer
  readonly delayMs: number
}): void {
  const { name, handle, types } = consumer
  if (typeof name !== 'string' || name === '')
    throw new OptionError(`a consumer needs a name, under which its cursor is kept, but has ${JSON.stringify(name)}`)
  if (typeof handle !== 'function')
    throw new OptionError(`consumer ${JSON.stringify(name)} needs a function handle, but has ${typeof handle}`)
  if (typeof stream !== 'function')
    throw new OptionError(
      `consumer ${JSON.stringify(name)} needs a StreamFunc: give source.stream, not ${typeof stream}`,
    )
  if (!(delayMs >= 0)) throw new OptionError(`delayMs must be 0 or more milliseconds, but is ${delayMs}`)
  checkTypes(`consumer ${JSON.stringify(name)}`, types)
}

/** Holds the first batch of a stream that was opened with `fromHead` against rule 5. */
export function checkPinned({ events, cursor }: Batch): void {
  if (events.length === 0 && cursor !== '') return
  throw new ReflexError(
    'SOURCE_CONTRACT',
    'a stream that is opened with fromHead must begin with an empty batch that carries the pinned position, ' +
      `but it began with ${events.length} events and the cursor ${JSON.stringify(cursor)}: the adapter is wrong`,
    { retriable: false },
  )
}
