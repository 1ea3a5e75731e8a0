import type { RouteConfig } from '../../service/config/parse-config.ts'
import { describeError } from '../../service/describe-error.ts'
import type { StoredStatus } from '../../service/status-route.ts'
import { printable } from '../printable.ts'

/** Where a route stands, in lines for people. */
export function formatStatus(
  { name, source, sink }: RouteConfig,
  status: StoredStatus,
  { now, debug }: { readonly now: number; readonly debug: boolean },
): string[] {
  const { checkpoint, head, backlog, oldestUnreadAt, blocked, wanted, owner, warnings, problems } = status
  const isAsked = (part: string): boolean => problems.every((problem) => problem.part !== part)
  const position = [
    isAsked('checkpoints')
      ? checkpoint === undefined
        ? 'no checkpoint yet'
        : `checkpoint ${checkpoint || 'the start'}`
      : '',
    head === undefined ? '' : `head ${head}`,
    backlog === undefined ? '' : `backlog ${backlog.count.toLocaleString('en')} ${backlog.unit}`,
    oldestUnreadAt === undefined ? '' : `the oldest waits ${duration(now - oldestUnreadAt)}`,
  ]
  const lines = [
    `${name}: ${stateOf(status)}`,
    `  ${source.name} -> ${sink.name}`,
    `  ${position.filter(Boolean).join(', ')}`,
    blocked === undefined ? '' : `  blocked for ${duration(blocked.blockedMs)} by ${blocked.holder}`,
    wanted === undefined || (wanted.wanted === 'running' && wanted.obeyed !== undefined)
      ? ''
      : `  ${wanted.wanted} is wanted by ${wanted.by} since ${wanted.at}, ${wanted.obeyed === undefined ? 'not obeyed yet' : `obeyed by ${wanted.obeyed.by}`}`,
    owner === undefined ? '' : `  ${owner.holder} has its lease`,
    ...warnings.map((text) => `  destination: ${text}`),
    ...problems.map(({ part, error }) => `  ${part}: FAILED: ${describeError(error)}`),
  ]
  const stacks = debug ? problems.map(({ error }) => describeError(error, { stack: true })) : []
  return [...lines.filter((line) => line.trim() !== '').map(printable), ...stacks]
}

/** In one word; whether a process is at work is known by its lease alone. */
function stateOf({ problems, wanted, blocked, backlog, checkpoint }: StoredStatus): string {
  if (problems.length > 0) return 'FAILED'
  if (wanted !== undefined && wanted.wanted !== 'running') return wanted.wanted
  if (blocked !== undefined) return 'blocked'
  if (backlog?.count === 0n) return 'up to date'
  return checkpoint === undefined ? 'new' : 'behind'
}

/** So many ms, in the largest unit that tells it. */
function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`
}
