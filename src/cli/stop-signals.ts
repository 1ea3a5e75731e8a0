import { ReflexError } from '../core/errors.ts'

/** Turns the signals that end a process into an abort. */
export interface StopSignals extends Disposable {
  /** Its reason has the code `STOPPED`. */
  readonly signal: AbortSignal
  /** Aborts as the first signal does. */
  stop(): void
}

/** npm hands Ctrl-C on to a process that the terminal has sent it to already: so soon after it is the same one. */
const SAME_MS = 250

const numbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const

/**
 * The first SIGINT, SIGTERM or SIGHUP aborts; the second ends the process at once, with the exit code that a shell expects
 * (130 for Ctrl-C). `onStop` is called at the first.
 */
export function stopSignals(onStop: () => void = () => {}): StopSignals {
  const controller = new AbortController()
  let stoppedAt: number | undefined
  const stop = (): void => {
    if (stoppedAt !== undefined) return
    stoppedAt = performance.now()
    onStop()
    controller.abort(new ReflexError('STOPPED', 'stopped'))
  }
  const listeners = Object.entries(numbers).map(([name, number]) => {
    const listener = (): void => {
      if (stoppedAt === undefined) stop()
      else if (performance.now() - stoppedAt > SAME_MS) process.exit(128 + number)
    }
    process.on(name, listener)
    return [name, listener] as const
  })
  return {
    signal: controller.signal,
    stop,
    [Symbol.dispose]: () => {
      for (const [name, listener] of listeners) process.removeListener(name, listener)
    },
  }
}
