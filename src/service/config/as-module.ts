import { AsyncLocalStorage } from 'node:async_hooks'
import { ReflexError } from '../../core/errors.ts'

/** The file of the module whose code runs, also in what it has begun and that runs later. */
const running = new AsyncLocalStorage<string>()
let isGuarded = false

/**
 * Runs code of a module of the user's, `file`, in this process, whose stdout and exit code are for those who read the command's
 * output: what the module prints there goes to stderr instead, `process.exit` throws `TRANSFORM_INVALID`, and an exit code that it sets is
 * taken back. Returns and throws as `work` does.
 */
export function asModule<T>(file: string, work: () => T): T {
  guard()
  const { exitCode } = process
  try {
    return running.run(file, work)
  } finally {
    process.exitCode = exitCode
  }
}

/** Once: for everybody else both are as they were. */
function guard(): void {
  if (isGuarded) return
  isGuarded = true
  const { stdout, stderr } = process
  const write = stdout.write.bind(stdout)
  const exit = process.exit.bind(process)
  stdout.write = ((...args: Parameters<typeof write>) =>
    running.getStore() === undefined ? write(...args) : stderr.write(...args)) as typeof write
  process.exit = (...args) => {
    const file = running.getStore()
    if (file === undefined) exit(...args) // without a code it is another one than with undefined
    throw new ReflexError(
      'TRANSFORM_INVALID',
      `a call of process.exit(${args.join()}) in ${file}: a module of a route must return or throw, since others run in this process`,
      { retriable: false },
    )
  }
}
