import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters, styleText } from 'node:util'
import { type LogLevel, logLevels } from '../../service/config/parse-config.ts'
import { describeError } from '../../service/describe-error.ts'
import { maskPasswords } from '../../service/mask-passwords.ts'
import type { RouteStatus, RunningRoute } from '../../service/start-route.ts'
import { printable } from '../printable.ts'
import type { Reporter } from './reporter.ts'

/** What is needed of a terminal: `process.stdout`. */
export interface Terminal {
  readonly columns?: number | undefined
  readonly rows?: number | undefined
  write(text: string): unknown
}

/** The status lines are drawn so often. */
const DRAW_EVERY_MS = 500
/** Of a source that writers hold up for less than this, nothing is said: it is that many times a second. */
const BLOCKED_MS = 1000
const ERASE_BELOW = '\x1b[J'

/** Log lines for people, and below them one live line per route: state, position, events per second, backlog, what blocks it, last error. */
export function terminalReporter(terminal: Terminal, { level }: { readonly level: LogLevel }): Reporter {
  const stack = level === 'debug' || level === 'trace'
  const done = new AbortController()
  let live: readonly string[] = []
  let drawn = 0
  let watching: Promise<void> | undefined

  const draw = (above = ''): void => {
    const back = drawn === 0 ? '' : `\x1b[${drawn}A\r`
    terminal.write(`${back}${ERASE_BELOW}${above}${live.map((line) => `${line}\n`).join('')}`)
    drawn = live.length
  }
  const log: Reporter['log'] = (at, message, { route, error } = {}) => {
    if (logLevels.indexOf(at) < logLevels.indexOf(level)) return
    const time = new Date().toTimeString().slice(0, 8)
    const text = `${route === undefined ? '' : `${route}: `}${maskPasswords(message)}`
    const colored = at === 'error' ? styleText('red', text) : at === 'warn' ? styleText('yellow', text) : text
    draw(`${time} ${colored}\n${stack && error !== undefined ? `${describeError(error, { stack })}\n` : ''}`)
  }
  async function watch(routes: readonly RunningRoute[]): Promise<void> {
    const rates = new Map(routes.map((route) => [route, rate()]))
    const width = Math.max(...routes.map(({ name }) => name.length))
    for (;;) {
      const statuses = await Promise.all(routes.map(async (route) => [route, await route.status()] as const))
      if (done.signal.aborted) return
      const lines = statuses.map(([route, status]) => {
        const perSecond = rates.get(route)?.(status.handled, performance.now()) ?? 0
        return truncated(`${route.name.padEnd(width)}  ${statusLine(status, perSecond)}`, terminal.columns || 80)
      })
      live = fitting(lines, (terminal.rows || 24) - 1)
      draw()
      await sleep(DRAW_EVERY_MS, undefined, { signal: done.signal })
    }
  }
  return {
    log,
    watch: (routes) => {
      watching = watch(routes).catch((error) => {
        if (!done.signal.aborted) throw error
      })
    },
    [Symbol.asyncDispose]: async () => {
      done.abort()
      await watching
      live = [] // the log says how each route ended
      draw()
    },
  }
}

/** A route's state in one line. */
export function statusLine(status: RouteStatus, perSecond: number): string {
  const { state, owner, position, backlog, blocked, oldestUnreadAt, lastError, handled } = status
  const parts = [
    state.padEnd(8),
    state !== 'standby' || owner === undefined ? '' : `${owner} has it`,
    position === undefined ? '' : `at ${position === '' ? 'the start' : position}`,
    `${handled.toLocaleString('en')} events`,
    `${Math.round(perSecond).toLocaleString('en')}/s`,
    backlog === undefined ? '' : `backlog ${backlog.count.toLocaleString('en')} ${backlog.unit}`,
    oldestUnreadAt === undefined ? '' : `oldest ${duration(Date.now() - oldestUnreadAt)}`,
    blocked === undefined || blocked.blockedMs < BLOCKED_MS
      ? ''
      : `blocked ${duration(blocked.blockedMs)} by ${blocked.holder}`,
    lastError === undefined ? '' : `last error: ${describeError(lastError)}`,
  ]
  return printable(parts.filter(Boolean).join('  '))
}

/** So many ms, in the largest unit that tells it. */
function duration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`
}

/** Events per second, from the counts at two drawings, smoothed over about two seconds. */
function rate(): (handled: number, now: number) => number {
  let last: { readonly handled: number; readonly at: number } | undefined
  let smooth = 0
  return (handled, at) => {
    if (last !== undefined && at > last.at) {
      const current = ((handled - last.handled) * 1000) / (at - last.at)
      smooth = smooth === 0 ? current : smooth + (current - smooth) * 0.3
    }
    last = { handled, at }
    return smooth
  }
}

/** Lines that have scrolled away could not be drawn over. */
function fitting(lines: readonly string[], rows: number): readonly string[] {
  if (lines.length <= rows) return lines
  const shown = lines.slice(0, Math.max(0, rows - 1))
  return [...shown, `… and ${lines.length - shown.length} more`]
}

/** A line that wraps could not be drawn over. */
function truncated(line: string, columns: number): string {
  const plain = stripVTControlCharacters(line)
  return plain.length < columns ? line : `${plain.slice(0, Math.max(1, columns - 2))}…`
}
