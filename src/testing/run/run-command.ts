/** What can be hit by a fault: what a run asks of the world, and what it asks of its consumer. */
export type Operation =
  | 'get'
  | 'open'
  | 'read'
  | 'set'
  | 'close'
  | 'start'
  | 'handle'
  | 'filter'
  | 'stop'
  | 'background'

/**
 * What goes wrong with one operation. `refused`: it fails and has no effect. `lost reply`: it has its effect, and fails. `late`: it
 * fails, and has its effect some operations later. A crash ends the process: nothing of it goes on. `ends`: a stream that is read
 * is over, though nobody asked it to end. `abort, hangs`: aborted, and what was asked for is never answered. `refused, then abort`: it
 * fails, and the run is aborted at the operation that follows.
 */
export type Fault =
  | 'refused'
  | 'lost reply'
  | 'late'
  | 'abort before'
  | 'abort after'
  | 'abort, refused'
  | 'abort, hangs'
  | 'refused, then abort'
  | 'crash before'
  | 'crash after'
  | 'crash, late'
  | 'ends'

/** What happens to the world while somebody is at work, or while nobody is. */
export type Happening =
  /** Appends so many events, and then positions that hold none. */
  | {
      readonly do: 'append'
      readonly count: number
      /** Default: 1. */
      readonly type?: number | undefined
      /** How old they are, in ms; negative: of the future. Default: 0. */
      readonly age?: number | undefined
    }
  /** Takes positions that hold no event. */
  | { readonly do: 'skip'; readonly count: number }
  /** An operator sets the cursor to `""` (0) or to one that was saved before. */
  | { readonly do: 'reset'; readonly cursor: number }
  /** Retention takes everything before an event, counted from the front. */
  | { readonly do: 'trim'; readonly event: number }
  /** The clock is set. */
  | { readonly do: 'jump'; readonly ms: number }

/** One process that runs the consumer until it ends. What is left out is the simplest. */
export interface LifePlan {
  /** Without end: an hour later, or whenever `order` says, it is aborted. Default: to the head. */
  readonly endless?: boolean | undefined
  readonly fromHead?: boolean | undefined
  readonly delayMs?: number | undefined
  /** The consumer wants these types only. */
  readonly types?: readonly number[] | undefined
  /** The consumer wants events with an even position only. */
  readonly filter?: boolean | undefined
  /** Default: synchronous. In the background: events settle in order some time later, what is left does on `stop`. */
  readonly handling?: 'asynchronous' | 'background' | undefined
  /** How long one event takes. Default: 0. */
  readonly handlerMs?: number | undefined
  readonly recover?: 'swallows' | 'throws' | undefined
  /** The consumer has `start` and `stop`. Always so in the background. */
  readonly hooks?: boolean | undefined
  /** The most positions in a batch. Default: 3. */
  readonly batch?: number | undefined
  /** The `nth` operation of this kind, from 0 on, is hit; a life that is shorter has no fault. */
  readonly fault?: {
    readonly on: Operation
    readonly nth: number
    readonly how: Fault
    /** After so many operations it takes effect, where it is late. Default: 0. */
    readonly after?: number | undefined
  }
  /** A mistake of the program, which has to be refused. */
  readonly wrong?: 'delayMs' | 'types' | 'name' | undefined
  /** Happens at the operation of this number, whichever kind. */
  readonly meanwhile?: { readonly at: number; readonly what: Happening } | undefined
}

/** What one attempt of a supervised one does, where it is told what to do. */
export interface ScriptedAttempt {
  readonly ends: 'fails' | 'throws' | 'fails for good' | 'conflict' | 'fenced' | 'reset' | 'head' | 'hangs'
  /** It has saved something before. */
  readonly progress?: boolean | undefined
  /** How long it takes. Default: 0. */
  readonly ms?: number | undefined
  /** It does not end earlier when it is aborted. */
  readonly deaf?: boolean | undefined
}

/** A step. `order` says who goes on where several can, see `simulation`; numbers that name something start again from the front. */
export type RunCommand =
  | Happening
  /** The log is deleted, and made again under its name. */
  | { readonly do: 'recreate' }
  /** The log is restored from an older copy, that ends at an event. */
  | { readonly do: 'rewind'; readonly event: number }
  | { readonly do: 'run'; readonly life: LifePlan; readonly order?: readonly number[] | undefined }
  /** Two processes of one consumer at the same time. */
  | {
      readonly do: 'run both'
      readonly life: LifePlan
      readonly rival: LifePlan
      readonly order?: readonly number[] | undefined
    }
  /** A supervised run; each attempt has a plan, those that follow have none. */
  | {
      readonly do: 'supervise run'
      readonly lives: readonly LifePlan[]
      readonly random: number
      readonly order?: readonly number[] | undefined
    }
  /** Supervised attempts that do what is said here; the one that follows ends at the head. */
  | {
      readonly do: 'supervise'
      readonly attempts: readonly ScriptedAttempt[]
      readonly random: number
      /** Aborted so long after the start; default: not at all, unless it hangs. */
      readonly abortAfterMs?: number | undefined
      readonly graceMs?: number | undefined
    }
