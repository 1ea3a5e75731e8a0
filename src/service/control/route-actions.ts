import { OptionError } from '../../core/errors.ts'
import { nearest } from '../config/nearest.ts'
import type { RouteConfig } from '../config/parse-config.ts'
import type { Wanted } from './control-record.ts'
import { openControl } from './open-control.ts'

/**
 * What an operator can have done with routes, whichever process runs them. Each resolves when it is stored where every process of
 * the route sees it, which it does within about a second. Safe to repeat. Throws `OPTION_INVALID` for a route that is not known.
 */
export interface RouteActions {
  /** The route keeps its position, and with `standby` its lease, and forwards nothing until it is resumed. */
  pause(route: string): Promise<void>
  /** The route goes on where it stood. */
  resume(route: string): Promise<void>
  /** The route gives its lease back and forwards nothing, also after a restart, until it is resumed. */
  stop(route: string): Promise<void>
}

/** Options of `routeActions`. */
export interface RouteActionsOptions {
  /** Who acts, for the record: at most 255 characters. */
  readonly by: string
}

/** The actions on the routes of a configuration. */
export function routeActions(routes: readonly RouteConfig[], { by }: RouteActionsOptions): RouteActions {
  const want = async (wanted: Wanted, name: string): Promise<void> => {
    const [route] = namedRoutes(routes, [name]) as [RouteConfig]
    await using control = await openControl(route, { createTables: false, readOnly: false })
    await control.want(wanted, { by })
  }
  return {
    pause: (route) => want('paused', route),
    resume: (route) => want('running', route),
    stop: (route) => want('stopped', route),
  }
}

/** The routes of these names, all for none. Throws `OPTION_INVALID` for a name that no route has. */
export function namedRoutes(routes: readonly RouteConfig[], names: readonly string[]): readonly RouteConfig[] {
  if (names.length === 0) return routes
  const known = routes.map(({ name }) => name)
  return [...new Set(names)].map((name) => {
    const route = routes.find((each) => each.name === name)
    if (route !== undefined) return route
    const meant = nearest(name, known)
    throw new OptionError(
      `there is no route ${JSON.stringify(name)}: ${meant === undefined ? `expected one of ${known.join(', ')}` : `did you mean ${meant}?`}`,
    )
  })
}
