import { disposeStack } from '../core/dispose-stack.ts'
import type { PurgeHolders } from '../sql/purge-holders.ts'
import type { RouteConfig } from './config/parse-config.ts'

/** Who holds rows of a route's source back. Disposing it ends the connections. */
export interface OpenHolders extends PurgeHolders, AsyncDisposable {}

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
    const cursors: Awaited<ReturnType<RouteConfig['checkpoints']['open']>>['part'][] = []
    for (const store of stores.values())
      cursors.push(opened.use(await store.open({ createTables: false, readOnly: true })).part)
    return {
      cursors,
      consumers: [...readers, ...likely.filter(({ name }) => !except.includes(name))].map(({ name }) => name),
      except: [...unlike.map(({ name }) => name), ...except],
      [Symbol.asyncDispose]: opened[Symbol.asyncDispose],
    }
  } catch (error) {
    await opened[Symbol.asyncDispose]()
    throw error
  }
}

/** What follows the server, and who logs in there: `shop?table=events`. */
function tableOf(source: string): string {
  return source.slice(source.lastIndexOf('/') + 1)
}
