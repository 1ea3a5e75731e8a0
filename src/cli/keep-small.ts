/** The commands through which many events pass. */
const long: readonly (string | undefined)[] = ['run', 'replay', 'verify']
/** In MB. */
const SEMI_SPACE = '--max-semi-space-size=8'

/**
 * Goes on as the same process with a small young generation, unless its size is given: what is made of an event is soon garbage, and
 * Node lets that grow to 128 MB, which saves no time. It can only be said when Node starts. Where a process cannot be replaced, as on
 * Windows, nothing happens.
 */
export function keepSmall(args: readonly string[]): void {
  const { execArgv, execPath, env } = process
  const isGiven = /--max[-_]semi[-_]space[-_]size/.test(`${execArgv.join(' ')} ${env['NODE_OPTIONS'] ?? ''}`)
  if (!long.includes(args[0]) || isGiven || process.platform === 'win32' || process.channel) return
  process.execve?.(execPath, [execPath, SEMI_SPACE, ...execArgv, process.argv[1] as string, ...args], env)
}
