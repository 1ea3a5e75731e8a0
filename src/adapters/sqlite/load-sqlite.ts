import { ReflexError } from '../../core/errors.ts'

/**
 * Node's own SQLite. Loaded only when it is used, so that importing this package neither fails nor warns on a Node without it.
 * Throws on a Node below 22.22: those ignore the busy timeout without a word.
 */
export function loadSqlite(version: string = process.versions.node): typeof import('node:sqlite') {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  if (major >= 24 || (major === 22 && minor >= 22)) return process.getBuiltinModule('node:sqlite')
  throw new ReflexError(
    'NODE_TOO_OLD',
    `SQLite needs Node 22.22 or newer of 22, or 24 and above, but this is Node ${version}: older ones lack node:sqlite or ignore its busy timeout`,
    { retriable: false },
  )
}
