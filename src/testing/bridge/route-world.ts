import { type Clock, systemClock } from '../../core/clock.ts'
import { settlesWithin } from '../conformance/within.ts'
import { Stuck, simulation } from '../simulation/simulation.ts'

/** Where a schedule is played: in virtual time, one thing after the other, or in this machine's. */
export interface RouteWorld {
  readonly clock: Clock
  /** What runs beside the rest says so, and calls what is returned when it has ended. */
  join(): () => void
  /** An operation waits for its turn before it takes effect, and for another before its answer arrives. */
  turn(): Promise<void>
  /** Lets whatever else is there do so many steps. */
  wait(steps: number): Promise<void>
  /** Lets time pass. */
  pass(ms: number): Promise<void>
  /** Sets the clock. */
  jump(ms: number): void
  /** Waits until `work` has settled; `hang` is thrown if it does not. Does not reject with what `work` rejects with. */
  ended(work: Promise<unknown>, hang: Error): Promise<void>
  /** Waits for what comes soon by itself, where anything does: a connection that is being closed. */
  soon(holds: () => boolean): Promise<void>
  /** Plays. */
  run(play: Promise<void>): Promise<void>
}

/** A world in virtual time; `decisions` are those of `simulation`. */
export function simulatedWorld(decisions: readonly number[]): RouteWorld {
  const { clock, turn, jump, run } = simulation(decisions)
  let parties = 0
  let hang: Error | undefined
  const join = (): (() => void) => {
    parties++
    return () => {
      parties--
    }
  }
  return {
    clock,
    join,
    // Where there is nobody to take turns with, nothing is decided.
    turn: () => (parties > 1 || decisions.length > 0 ? turn() : Promise.resolve()),
    wait: async (steps) => {
      const leave = join()
      for (let i = 0; i < steps; i++) await turn()
      leave()
    },
    pass: (ms) => clock.sleep(ms),
    jump,
    ended: async (work, otherwise) => {
      hang = otherwise
      await work.catch(() => {})
      hang = undefined
    },
    soon: async () => {},
    run: async (play) => {
      try {
        await run(play)
      } catch (error) {
        throw error instanceof Stuck ? (hang ?? error) : error
      }
    },
  }
}

/** After so long without an operation, nothing more is expected to begin. */
const IDLE_MS = 20

/** The real one: operations take the time they take, and turns only tell that they do. What takes longer than `limitMs` hangs. */
export function realWorld(limitMs: number): RouteWorld {
  let wake = (_idle: boolean): void => {}
  return {
    clock: systemClock,
    join: () => () => {},
    turn: async () => wake(false),
    wait: async (steps) => {
      for (let i = 0; i < steps; i++) {
        const idle = await new Promise<boolean>((resolve) => {
          const timer = setTimeout(resolve, IDLE_MS, true)
          wake = (is) => {
            clearTimeout(timer)
            resolve(is)
          }
        })
        if (idle) return
      }
    },
    pass: async () => {}, // as much as there is
    jump: () => {},
    ended: async (work, hang) => {
      if (!(await settlesWithin(work, limitMs))) throw hang
    },
    soon: async (holds) => {
      for (const until = performance.now() + limitMs; !holds() && performance.now() < until; )
        await new Promise((resolve) => setTimeout(resolve, IDLE_MS))
    },
    run: (play) => play,
  }
}
