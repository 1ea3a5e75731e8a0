import type { CursorStore } from '../core/cursor.ts'
import { disposeStack } from '../core/dispose-stack.ts'
import { ReflexError } from '../core/errors.ts'
import type { PurgeHolders } from '../sql/purge-holders.ts'
import { isMissing } from './check-route.ts'
import type { RouteConfig } from './config/parse-config.ts'

/** Who holds rows of a route's source back. Disposing it ends the connections. */
export interface OpenHolders extends PurgeHolders, AsyncDisposable {
  /** Throws `PURGE_REFUSED` if a route of the configuration that reads the source has no checkpoint. */
  refuseUnread(): Promise<void>
}

/**
 * Who holds rows of the source of `route` back: all of `routes` that read it, and every other consumer in the stores where their
 * checkpoints are, but for the routes that read something else, and for `except`. Of a table of the same name in a database of the
 * same name nobody can tell, by the URL, whether it is another one: it may be read as another user.
 */
export async function purgeHoldersOf(
  route: RouteConfig,
  routes: readonly RouteConfig[],
  { except }: { readonly except: readonly string[] },
): Promise<OpenHolders> {
  const readers = routes.filter(({ source }) => source.name === route.source.name)
  const stores = new Map(readers.map(({ checkpoints }) => [checkpoints.name, checkpoints]))
  const others = routes.filter((each) => !readers.includes(each) && stores.has(each.checkpoints.name))
  const [likely = [], unlike = []] = [true, false].map((is) =>
    others.filter(({ source }) => (tableOf(source.name) === tableOf(route.source.name)) === is),
  )
  const opened = disposeStack()
  try {
    const parts = new Map<string, CursorStore>()
    for (const [place, store] of stores) {
      const opening = store.open({ createTables: false, readOnly: true })
      const { part } = opened.use(await opening.catch((error) => unlessMissing(error, route.name, place)))
      parts.set(place, part)
    }
    return {
      cursors: [...parts.values()],
      refuseUnread: async () => {
        for (const { name, checkpoints } of readers) {
          const place = checkpoints.name
          const stored = await parts
            .get(place)
            ?.get(name)
            .catch((error: unknown) => unlessMissing(error, name, place))
          if (stored === '') throw notRunYet(name, place)
        }
      },
      consumers: [...readers, ...likely.filter(({ name }) => !except.includes(name))].map(({ name }) => name),
      except: [...unlike.map(({ name }) => name), ...except],
      [Symbol.asyncDispose]: opened[Symbol.asyncDispose],
    }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}

function unlessMissing(error: unknown, route: string, place: string): never {
  throw isMissing(error) ? notRunYet(route, place) : error
}

function notRunYet(route: string, place: string): ReflexError {
  return new ReflexError(
    'PURGE_REFUSED',
    `nothing is deleted: the route ${route} has no checkpoint yet in ${place}, so it has read nothing. Run it first (reflex-bridge run CONFIG), or take it out of the configuration if it is not to run.`,
    { retriable: false },
  )
}

/** What follows the server, and who logs in there: `shop?table=events`. */
function tableOf(source: string): string {
  return source.slice(source.lastIndexOf('/') + 1)
}
