import { untilAborted } from '../core/abort.ts'
import type { Consumer } from '../core/consumer.ts'
import { codeOf, errorKind } from '../core/errors.ts'
import type { Cursor, Event } from '../core/event.ts'
import type { HeldLease } from '../core/hold-lease.ts'
import { oneRun } from './one-run.ts'

/** What is at work in the background of one run. */
export interface RunState {
  take(event: Event): void | Promise<void>
  /** The end: `limit` says for how long it may take, `drain` is for handlers that are begun now. */
  finish(limit: AbortSignal, drain: AbortSignal): Promise<void>
  settled(): Cursor | undefined
  /** Resolves when no handler is at work; undefined if none is. */
  atWork?(): Promise<void> | undefined
}

/** The run, as what is at work for it sees it. */
export interface RunOf {
  readonly signal: AbortSignal
  fail(error: unknown): void
  /** What a handler is given beside its events. */
  contextOf<Context extends { readonly signal: AbortSignal }>(context: Context): Context
  /** Whether another one does its work by now: whatever is begun is done twice. To be asked in the turn in which something begins. */
  isTakenOver(): boolean
}

/** The members of a consumer whose state is made for each run by `begin`; `start` and `stop` of `inner` are called around it. */
export function perRun(
  what: string,
  inner: Pick<Consumer, 'start' | 'stop'>,
  begin: (run: RunOf) => RunState,
): Required<Pick<Consumer, 'start' | 'handle' | 'stop' | 'settled'>> {
  const guard = oneRun(what)
  let state: RunState | undefined
  let lease: HeldLease | undefined
  /** Of an earlier run, whose handlers did not heed their signal. */
  let straggling: Promise<void> | undefined

  return {
    start: async (context) => {
      const { signal, fail } = context
      guard.enter(context)
      try {
        if (straggling !== undefined) await untilAborted(straggling, signal)
        await inner.start?.(context)
        lease = (context as { readonly lease?: HeldLease }).lease // of `withLease`
        state = begin(runOf({ signal, fail, lease }))
      } catch (error) {
        guard.leave()
        throw error
      }
      guard.entered()
    },
    handle: (event) => {
      guard.check()
      return (state as RunState).take(event)
    },
    stop: async (context) => {
      const { signal } = context
      guard.heard()
      try {
        await state?.finish(signal, lease === undefined ? signal : AbortSignal.any([signal, lease.signal]))
      } finally {
        straggling = state?.atWork?.()
        try {
          await inner.stop?.(context)
        } finally {
          guard.leave()
        }
      }
    },
    settled: () => {
      guard.heard()
      return state?.settled()
    },
  }
}

function runOf({
  signal,
  fail,
  lease,
}: {
  readonly signal: AbortSignal
  fail(error: unknown): void
  readonly lease: HeldLease | undefined
}): RunOf {
  return {
    signal,
    fail,
    contextOf: (context) => (lease === undefined ? context : { ...context, token: lease.token }),
    isTakenOver: () => {
      try {
        lease?.check() // a process that was frozen may find only now that it is lost
      } catch {
        return true
      }
      const { aborted, reason } = signal
      return (
        aborted && (['LEASE_LOST', 'CURSOR_CONFLICT'].includes(codeOf(reason) ?? '') || errorKind(reason) === 'fenced')
      )
    },
  }
}
