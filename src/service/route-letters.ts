import { parseCheckpoint } from '../bridge/checkpoint.ts'
import type { RouteLetter } from '../bridge/dead-letters.ts'
import { disposeStack } from '../core/dispose-stack.ts'
import { OptionError, ReflexError } from '../core/errors.ts'
import type { RouteConfig } from './config/parse-config.ts'
import type { Opened } from './config/scheme.ts'

/** The dead letters of a route, open. Disposing it ends its connections. */
export interface RouteLetters extends AsyncDisposable {
  /** In the order in which they were recorded. */
  list(status: 'open' | 'resolved', signal: AbortSignal): AsyncGenerator<RouteLetter>
  /** Closes one. Throws `LETTER_IN_USE` if the route has not gone past the event yet. */
  close(letter: RouteLetter): Promise<void>
}

const PAGE = 100

/** Opens the dead letters of a route, `readOnly` if none of them will be closed. Throws `OPTION_INVALID` if it has none. */
export async function routeLetters(
  { name, source, checkpoints, deadLetters }: RouteConfig,
  { readOnly }: { readonly readOnly: boolean },
): Promise<RouteLetters> {
  if (deadLetters === undefined)
    throw new OptionError(`the route ${name} has no dead letters: it stops at an event that cannot be sent`)
  const opened = disposeStack()
  const use = async <T>(opening: Promise<Opened<T>>): Promise<T> => opened.use(await opening).part
  try {
    const letters = await use(deadLetters.open({ createTables: false, readOnly }))
    const { compare } = await use(source.open({ createTables: false, readOnly: true }))
    const store = await use(checkpoints.open({ createTables: false, readOnly: true }))
    return {
      async *list(status, signal) {
        for (let after: string | undefined; ; ) {
          const page = await letters.list({ consumer: name, status, after, limit: PAGE, signal })
          yield* page
          if (page.length < PAGE) return
          after = page.at(-1)?.id
        }
      },
      close: async ({ id, eventId }) => {
        // Until then the bridge would meet the event again, and make of it what it makes of any other.
        const { cursor } = parseCheckpoint(name, await store.get(name)) ?? { cursor: '' }
        if (cursor === '' || (compare?.(eventId, cursor) ?? 1) > 0) {
          throw new ReflexError(
            'LETTER_IN_USE',
            `route ${name}: the letter of event ${eventId} is not closed, since the checkpoint of the route, ${JSON.stringify(cursor)}, has not passed it yet: run the route, then try again`,
          )
        }
        await letters.resolve(id)
      },
      [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
    }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}
