import type { LogLevel } from '../../service/config/parse-config.ts'
import type { RunningRoute } from '../../service/start-route.ts'

/** Where what happens is told. */
export interface Reporter extends AsyncDisposable {
  log(level: Exclude<LogLevel, 'silent'>, message: string, about?: LogFields): void
  /** Shows the progress of these routes from now on, until it is disposed of. */
  watch(routes: readonly RunningRoute[]): void
}

/** What a log line is about. */
export interface LogFields {
  readonly route?: string
  readonly error?: unknown
  readonly [field: string]: unknown
}
