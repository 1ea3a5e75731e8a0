import { setFlagsFromString } from 'node:v8'

/** The commands through which many events pass. */
const long: readonly (string | undefined)[] = ['run', 'replay', 'verify']
/** In MB. */
const SEMI_SPACE = '--max-semi-space-size=4'
/** In percent of what was in use after the collection before. */
const GROWTH = '--heap-growing-percent=90'

/**
 * Goes on as the same process with a small heap. What is made of an event is soon garbage: Node lets its young generation grow to
 * 128 MB, and the old one to several times of what is in use, which saves little time. Sizes that are given to Node are left as they are.
 *
 * The size of the young generation can only be said when Node starts. Where a process cannot be replaced, as on Windows, it stays as it is.
 */
export function keepSmall(args: readonly string[]): void {
  const { execArgv, execPath, env } = process
  if (!long.includes(args[0])) return
  const given = `${execArgv.join(' ')} ${env['NODE_OPTIONS'] ?? ''}`
  if (!/--heap[-_]growing[-_]percent/.test(given)) setFlagsFromString(GROWTH)
  if (/--max[-_]semi[-_]space[-_]size/.test(given) || process.platform === 'win32' || process.channel) return
  process.execve?.(execPath, [execPath, SEMI_SPACE, ...execArgv, process.argv[1] as string, ...args], env)
}
