import type { AuditCounts, AuditEntry, AuditReport } from '../../bridge/audit.ts'
import type { RouteAudit } from '../../service/audit-route.ts'
import type { RouteConfig } from '../../service/config/parse-config.ts'
import { describeError } from '../../service/describe-error.ts'
import { printable } from '../printable.ts'
import { formatDuration } from './format-duration.ts'

/** What became of one route. */
export interface Verified {
  readonly route: RouteConfig
  readonly audit?: RouteAudit
  /** What `--repair` has done; undefined where it was not tried. */
  readonly repairs?: readonly string[]
  /** Why it could not be verified, or repaired. */
  readonly error?: unknown
  readonly elapsedMs: number
}

/** What was found of one route, in lines for people. */
export function formatAudit(verified: Verified, { debug }: { readonly debug: boolean }): string[] {
  const { route, audit, repairs, error, elapsedMs } = verified
  const { name } = route
  const failure = error === undefined ? [] : [`  ${describeError(error, { stack: debug })}`]
  if (audit === undefined) return [`${name}: FAILED`, ...failure]
  const { report, hasCheckpoint } = audit
  const { counts, from, to } = report
  const found = judged.filter((kind) => counts[kind] > 0 || kind === 'lost').map((kind) => said(kind, counts))
  const lines = [
    `${name}: ${report.ok && error === undefined ? 'ok' : 'FAILED'}`,
    `  ${route.source.name} -> ${route.sink.name}`,
    `  ${number(counts.source)} events ${from === '' ? '' : `after ${from} `}up to ${to || 'the start'} in ${formatDuration(elapsedMs)}: ${number(counts.delivered)} delivered, ${found.join(', ')}`,
    ...lists(report),
    ...unjudged.filter((kind) => counts[kind] > 0).map((kind) => `  ${said(kind, counts)}`),
    ...(hasCheckpoint ? [] : ['  the route has no checkpoint yet, so nothing has to be there (--to head judges all)']),
    ...(repairs ?? []).map((text) => `  repaired: ${text}`),
    ...failure,
  ]
  const advice = adviceFor(verified)
  return printed(advice === undefined ? lines : [...lines, `  ${advice}`])
}

const judged = ['lost', 'duplicated', 'reordered', 'different', 'unknown'] as const
const unjudged = ['filtered', 'setAside', 'trimmed', 'late', 'notCompared', 'foreign', 'before', 'beyond'] as const

const words: Readonly<Record<(typeof judged)[number] | (typeof unjudged)[number], string>> = {
  lost: 'lost',
  duplicated: 'duplicated',
  reordered: 'reordered',
  different: 'different',
  unknown: 'that the source does not have',
  filtered: 'left out by the route',
  setAside: 'set aside: dead letters, or skipped',
  trimmed: 'removed at the destination by retention, not judged',
  late: 'behind later events of other foreignIds only, in order all the same',
  notCompared: 'found too late to be compared with what was sent',
  foreign: 'of other writers',
  before: 'of events before these, not judged',
  beyond: 'of events after these, not judged',
}

function said(kind: keyof typeof words, counts: AuditCounts): string {
  return `${number(counts[kind])} ${words[kind]}`
}

function lists({ counts, lost, duplicated, reordered, different, unknown }: AuditReport): string[] {
  const at = ({ id, destination, at }: AuditEntry): string => `${id} (${destination} ${at})`
  const list = (what: string, all: number, texts: readonly string[]): string[] => {
    if (texts.length === 0) return []
    const more = all > texts.length ? ` and ${number(all - texts.length)} more` : ''
    return [`      ${what}: ${texts.join(', ')}${more}`]
  }
  return [
    ...list('lost', counts.lost, lost),
    ...list('duplicated', counts.duplicated, duplicated.map(at)),
    ...list('reordered', counts.reordered, reordered.map(at)),
    ...list(
      'different',
      counts.different,
      different.map((entry) => `${at(entry)}: ${entry.parts.join(', ')}`),
    ),
    ...list('not in the source', counts.unknown, unknown.map(at)),
  ]
}

function adviceFor({ route, audit, repairs, error }: Verified): string | undefined {
  if (audit === undefined || audit.report.ok || error !== undefined) return undefined
  const anew = `reflex-bridge replay CONFIG ${route.name} --into NEW makes a destination that has all of it, once and in order`
  if (audit.report.counts.lost === 0) return anew
  if (repairs === undefined) return 'if the destination has lost its tail, --repair refills it'
  return `what is still lost is not at the end, where it could be appended in order: ${anew}`
}

function number(n: number): string {
  return n.toLocaleString('en')
}

function printed(lines: readonly string[]): string[] {
  return lines.map(printable)
}
