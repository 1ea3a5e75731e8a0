import type { RunningRoute } from '../start-route.ts'

/** A route as the admin server shows it. */
export interface AdminRoute extends RunningRoute {
  /** Where its events come from, and where they go, without a password: `Endpoint.name`. */
  readonly source: string
  readonly sink: string
}
