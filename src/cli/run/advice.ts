import { codeOf } from '../../core/errors.ts'
import type { RouteConfig } from '../../service/parse-config.ts'

/** What an operator of the command line can do about a route that has ended for good; undefined where the error says all. */
export function adviceFor(error: unknown, { name, checkpoints }: RouteConfig): string | undefined {
  switch (codeOf(error)) {
    case 'TABLE_MISSING':
    case 'FILE_MISSING':
      return 'if it is not just misspelled, start with --create-tables, or set createTables: true'
    case 'CURSOR_TRIMMED':
    case 'CURSOR_AHEAD':
    case 'CURSOR_INVALID':
      return `the checkpoint of this route is kept in ${checkpoints.name}, under ${name}`
    default:
      return undefined
  }
}
