import { spawn } from 'node:child_process'

/**
 * Runs a command to its end and resolves with what it wrote (stdout and stderr together).
 * Throws with the command's name, its exit code and its last lines where it fails.
 */
export async function runCommand(
  argv: readonly string[],
  options: {
    signal?: AbortSignal
    cwd?: string
    input?: string
    env?: Readonly<Record<string, string | undefined>>
  } = {},
): Promise<string> {
  const [command, ...args] = argv
  if (command === undefined) throw new TypeError('expected a command, got an empty list')
  const child = spawn(command, args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    signal: options.signal,
    killSignal: 'SIGKILL',
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
  }
  child.stdin.on('error', () => {}) // the command may end without reading: its exit code tells
  child.stdin.end(options.input ?? '')
  const code = await new Promise<number | string>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (exitCode, signal) => resolve(exitCode ?? signal ?? 'unknown'))
  })
  if (code === 0) return output
  const tail = output.trimEnd().split('\n').slice(-12).join('\n')
  throw new Error(`${[command, ...args].join(' ').slice(0, 200)} ended with ${code}:\n${tail}`)
}
