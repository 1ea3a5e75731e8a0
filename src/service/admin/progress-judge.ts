import type { RouteStatus } from '../start-route.ts'

/** Whether a route does what it is there for. */
export type Verdict = { readonly ready: true } | { readonly ready: false; readonly reason: string }

/** Judges one route by its progress. */
export interface ProgressJudge {
  /** Takes note of what was seen at `at`, in ms of a clock that never goes back. */
  saw(status: RouteStatus, at: number): void
  /** Of what was seen up to now. */
  verdict(at: number): Verdict
}

/** Nothing is asked of a route in these: another process runs it, or an operator wants it so. */
const calm: ReadonlySet<string> = new Set(['standby', 'paused', 'stopped'])

/**
 * A route is not ready when events have been waiting for longer than `readyAfterMs` while its checkpoint has not moved: not what
 * it forwarded, since where nothing can be saved the same events are forwarded again and again. So one that is far behind but works
 * is ready, and so is one that has nothing to do; one that lives but is stuck is not, whatever holds it up. While it cannot tell
 * whether events wait, since it is starting or fails, they are taken to wait.
 */
export function progressJudge({ readyAfterMs }: { readonly readyAfterMs: number }): ProgressJudge {
  let last: { readonly status: RouteStatus; readonly at: number } | undefined
  let stalledSince: number | undefined
  return {
    saw: (status, at) => {
      const moved = status.saved !== last?.status.saved
      last = { status, at }
      const waiting = waits(status)
      if (moved || calm.has(status.state) || waiting === false) stalledSince = undefined
      if (!calm.has(status.state) && waiting === true) stalledSince ??= at
    },
    verdict: (at) => {
      if (last === undefined) return { ready: false, reason: 'its state is not known yet' }
      const { status } = last
      if (calm.has(status.state)) return { ready: true }
      if (at - last.at > readyAfterMs)
        return { ready: false, reason: `it has not told its state for ${inSeconds(at - last.at)}` }
      if (stalledSince === undefined || at - stalledSince <= readyAfterMs) return { ready: true }
      return { ready: false, reason: `no progress for ${inSeconds(at - stalledSince)}: ${holdUp(status)}` }
    },
  }
}

/** Whether events wait to be forwarded; undefined if it cannot tell just now. */
function waits({ state, backlog, oldestUnreadAt, blocked }: RouteStatus): boolean | undefined {
  if (blocked !== undefined || oldestUnreadAt !== undefined) return true
  if (backlog !== undefined) return backlog.count > 0n
  return state === 'running' ? undefined : true
}

function holdUp({ state, backlog, blocked }: RouteStatus): string {
  if (blocked !== undefined) return `blocked by ${blocked.holder}`
  if (backlog !== undefined) return `${backlog.count} ${backlog.unit} wait`
  if (state === 'waiting') return 'it fails and starts again'
  return state === 'running' ? 'events wait' : `it is ${state}`
}

function inSeconds(ms: number): string {
  return `${Math.floor(ms / 1000)} s`
}
