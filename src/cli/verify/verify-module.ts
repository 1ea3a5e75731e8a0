import { randomInt } from 'node:crypto'
import { stat, writeFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { OptionError, ReflexError } from '../../core/errors.ts'
import { maskPasswords } from '../../service/mask-passwords.ts'
import type { Kind } from '../../testing/conformance/suites.ts'
import { stopSignals } from '../stop-signals.ts'
import type { Finding, Findings } from './finding.ts'
import { formatFindings } from './format-findings.ts'
import { formatReplayed } from './format-replayed.ts'
import { htmlReport } from './html-report.ts'
import type { Job, Replayed } from './message.ts'
import type { PlainError } from './plain-error.ts'
import { showProgress } from './progress.ts'
import { runThread } from './run-thread.ts'
import { usedVersions } from './used-versions.ts'

/** Options of `verifyModule`; the defaults of what is left out are those of `verify`. */
export interface VerifyModuleOptions {
  readonly of?: Kind | undefined
  readonly runs?: number | undefined
  readonly seed?: number | undefined
  readonly only?: readonly string[] | undefined
  readonly limitMs?: number | undefined
  readonly timeLimitMs?: number | undefined
  /** Play this schedule, and no other. */
  readonly token?: string | undefined
  /** Write a page to this file. */
  readonly report?: string | undefined
  readonly json: boolean
  readonly debug: boolean
}

/** A machine at its limits may stand still for a while. In ms. */
const LEAST_STUCK_MS = 5000

/**
 * Verifies what the module at `path` makes and prints what was found. Resolves with the exit code: 0 if nothing failed, 1 if
 * something did, 130 if it was stopped. Throws on wrong input, and if no subject can be made, after what was found until then.
 */
export async function verifyModule(path: string, options: VerifyModuleOptions): Promise<0 | 1 | 130> {
  const { runs = 100, seed = randomInt(-(2 ** 31), 2 ** 31), limitMs = 5000, report, json, debug, ...rest } = options
  const job: Job = { file: await existing(path), path, runs, seed, limitMs, ...rest }
  if (report !== undefined) await checkFolder(report)
  const to = json ? process.stderr : process.stdout
  const print = json ? console.error : console.log
  const progress = showProgress(process.stderr)
  using stopping = stopSignals(() => progress.note('stopping after the schedule under way; Ctrl-C again ends at once'))
  process.stdout.on('error', stopping.stop) // who read it has gone

  const startedAt = performance.now()
  const properties: Finding[] = []
  let of: Kind = 'source'
  let ids: readonly string[] = []
  let under: Begun | undefined
  let replayed: Replayed | undefined
  let failed: PlainError | undefined
  const found = (finding: Finding): void => {
    under = undefined
    properties.push(finding)
    progress.end(finding)
  }
  await runThread(job, {
    signal: stopping.signal,
    stuckAfterMs: Math.max(2 * limitMs, LEAST_STUCK_MS),
    onTick: progress.tick,
    onOutput: progress.output,
    onMessage: (message) => {
      switch (message.is) {
        case 'loaded':
          of = message.of
          ids = message.ids
          if (job.token !== undefined) break
          progress.note(`${path}: ${ids.length} properties of a ${of}, up to ${runs} schedules each, seed ${seed}`)
          break
        case 'begun':
          under = { ...message, startedAt: performance.now() }
          progress.begin(message, { done: properties.length, of: ids.length })
          break
        case 'found':
          found(stopping.signal.aborted ? cutShort(message.finding, runs) : message.finding)
          break
        case 'replayed':
          replayed = message.replayed
          break
        case 'failed':
          failed = message.error
          break
        case 'stuck':
          if (under === undefined) failed = { message: `${path}: ${message.message}`, code: 'MODULE_STUCK' }
          else found(brokenOff(under, message))
      }
    },
  })
  progress.close()

  if (replayed !== undefined) {
    print(formatReplayed(replayed, { to, debug }))
    if (json) console.log(JSON.stringify(replayed))
  } else if (properties.length > 0 || failed === undefined) {
    const schedules = properties.reduce((sum, { schedules }) => sum + schedules, 0)
    const left = ids.slice(properties.length)
    const elapsedMs = performance.now() - startedAt
    const findings: Findings = { module: path, of, seed, runs, properties, left, schedules, elapsedMs }
    print(formatFindings(findings, { to, debug }))
    if (report !== undefined) {
      await writeFile(report, htmlReport(findings, { date: new Date(), versions: usedVersions() }))
      progress.note(`the report is in ${report}`)
    }
    if (json) console.log(jsonOf(findings))
  }
  if (failed !== undefined) throw asError(failed)
  if (stopping.signal.aborted) return 130
  return replayed?.broken !== undefined || properties.some(({ outcome }) => outcome === 'failed') ? 1 : 0
}

/** The property under way. */
interface Begun extends Pick<Finding, 'id' | 'title' | 'grade'> {
  readonly startedAt: number
}

/** What becomes of a property when the thread cannot go on. */
function brokenOff(
  { id, title, grade, startedAt }: Begun,
  { message, schedules }: { readonly message: string; readonly schedules: number },
): Finding {
  const elapsedMs = performance.now() - startedAt
  return { id, title, grade, outcome: 'failed', reason: maskPasswords(message), schedules, elapsedMs, refusals: [] }
}

/** What becomes of a property that was under way when it was stopped: too little was played to call it passed. */
function cutShort(finding: Finding, runs: number): Finding {
  const { outcome, schedules } = finding
  if (outcome === 'failed' || schedules >= runs) return finding
  return { ...finding, outcome: 'untested', reason: `it was stopped after ${schedules} of ${runs} schedules` }
}

/** Without what is the rest of it once more, for people. */
function jsonOf(findings: Findings): string {
  const properties = findings.properties.map(({ failure, ...finding }) => {
    if (failure === undefined) return finding
    const { text: _, stack: __, ...told } = failure
    return { ...finding, failure: told }
  })
  return JSON.stringify({ ...findings, properties })
}

async function existing(path: string): Promise<string> {
  const file = resolve(path)
  const found = await stat(file).catch((error: NodeJS.ErrnoException) => error)
  if (found instanceof Error) {
    const told = found.code === 'ENOENT' || found.code === 'ENOTDIR' ? `there is no file ${file}` : found.message
    throw new ReflexError('FILE_MISSING', `${path}: ${told}`, { cause: found, retriable: false })
  }
  if (found.isFile()) return file
  throw new ReflexError('FILE_MISSING', `${path}: expected a file that exports create, but this is a folder`, {
    retriable: false,
  })
}

async function checkFolder(report: string): Promise<void> {
  const folder = dirname(resolve(report))
  const isFolder = (path: string): Promise<boolean> =>
    stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    )
  if (!(await isFolder(folder))) throw new OptionError(`--report ${report}: there is no folder ${folder}`)
  if (await isFolder(resolve(report)))
    throw new OptionError(`--report ${report}: expected a file, but this is a folder`)
}

function asError({ message, code = 'VERIFY_FAILED', stack }: PlainError): ReflexError {
  const error = new ReflexError(code, message)
  if (stack !== undefined) error.stack = stack
  return error
}
