import { OptionError, ReflexError } from '../core/errors.ts'

/** A run, as its consumer sees it. */
interface Runner {
  readonly signal: AbortSignal
  fail(error: unknown): void
}

/** Keeps a consumer with a state to one run at a time. */
export interface OneRun {
  /** At the beginning of `start`. Throws `CONSUMER_IN_USE` where another run has the consumer. */
  enter(run: Runner): void
  /** `start` has succeeded. */
  entered(): void
  /** In each call of the run but for an event. */
  heard(): void
  /** Before an event is taken on. Where no run has the consumer, the one that had it last is failed with `CONSUMER_IN_USE`. */
  check(): void
  /** At the end of `stop`, and where `start` fails. */
  leave(): void
}

/**
 * Makes the guard of one consumer. Where the `start` of what decorates a consumer fails after its own, `run` calls no `stop`, but aborts
 * its signal: a run that was not heard of since its start, and is aborted, holds up no other.
 */
export function oneRun(what: string): OneRun {
  let last: Runner | undefined
  let state: 'free' | 'starting' | 'silent' | 'heard of' = 'free'
  const inUse = (): ReflexError =>
    new ReflexError(
      'CONSUMER_IN_USE',
      `${what}: expected to be used by one run at a time, since it keeps a state, but found that another run has it. ` +
        'Make one consumer for each run, and wait for the end of a run before it is started again.',
      { retriable: false },
    )
  return {
    enter: (run) => {
      const isLeft = state === 'silent' && last?.signal.aborted === true
      if (state !== 'free' && !isLeft) throw inUse()
      last = run
      state = 'starting'
    },
    entered: () => {
      state = 'silent'
    },
    heard: () => {
      if (state !== 'free') state = 'heard of'
    },
    check: () => {
      if (state !== 'free') {
        state = 'heard of'
        return
      }
      if (last === undefined) throw new OptionError(`${what}: is given to run, which starts it`)
      const error = inUse()
      last.fail(error) // so that nobody is asked whether to go past the event
      throw error
    },
    leave: () => {
      state = 'free'
    },
  }
}
