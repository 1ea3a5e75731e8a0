import { stripVTControlCharacters, styleText } from 'node:util'
import { maskPasswords } from '../../service/mask-passwords.ts'
import { printable } from '../printable.ts'
import type { Finding } from './finding.ts'
import { formatDuration } from './format-duration.ts'

/** What is shown while properties are looked at. */
export interface Progress {
  /** A line that stays. */
  note(text: string): void
  begin(
    property: { readonly id: string; readonly title: string },
    at: { readonly done: number; readonly of: number },
  ): void
  tick(schedules: number): void
  end(finding: Finding): void
  /** What the module prints. */
  output(text: string): void
  /** Takes the live line away. */
  close(): void
}

/** Elsewhere than on a terminal, a property that takes longer than this gets a line so often. In ms. */
const LINE_EVERY_MS = 10_000
const ERASE_LINE = '\r\x1b[2K'

/** A live line with the property under way, its schedules so far and the time on a terminal; elsewhere a line per property. */
export function showProgress(to: NodeJS.WriteStream): Progress {
  const terminal = to.isTTY && process.env['TERM'] !== 'dumb'
  let current: { id: string; title: string; done: number; of: number; startedAt: number; shownAt: number } | undefined
  let live = ''
  const draw = (line: string): void => {
    if (terminal) to.write(`${ERASE_LINE}${line}`)
    live = line
  }
  const note = (text: string): void => {
    to.write(terminal ? `${ERASE_LINE}${text}\n${live}` : `${text}\n`)
  }
  return {
    note,
    begin: ({ id, title }, { done, of }) => {
      const now = performance.now()
      current = { id, title, done, of, startedAt: now, shownAt: now }
    },
    tick: (schedules) => {
      if (current === undefined) return
      const { id, title, done, of, startedAt, shownAt } = current
      const now = performance.now()
      const seconds = `${((now - startedAt) / 1000).toFixed(1)} s`
      if (terminal) {
        const line = `${done + 1}/${of}  ${id}  ${count(schedules)}, ${seconds}  ${title}`
        draw(fitting(line, to.columns || 80))
      } else if (now - shownAt >= LINE_EVERY_MS) {
        current.shownAt = now
        note(`${id} under way: ${count(schedules)}, ${seconds}`)
      }
    },
    end: ({ id, outcome, schedules, elapsedMs, reason, failure }) => {
      current = undefined
      live = ''
      const why = failure === undefined ? reason : `${failure.property} broken: ${failure.message}`
      const told = why === undefined ? '' : `: ${printable(maskPasswords(why))}`
      const line = `${id} ${outcome}, ${count(schedules)}, ${formatDuration(elapsedMs)}${told}`
      if (!terminal) note(line)
      else if (outcome === 'failed') note(styleText('red', fitting(line, to.columns || 80)))
    },
    output: (text) => {
      to.write(terminal ? `${ERASE_LINE}${text}` : text)
    },
    close: () => {
      if (terminal && live !== '') draw('')
    },
  }
}

function count(schedules: number): string {
  return `${schedules.toLocaleString('en')} ${schedules === 1 ? 'schedule' : 'schedules'}`
}

/** A line that wraps could not be drawn over. */
function fitting(line: string, columns: number): string {
  const plain = stripVTControlCharacters(line)
  return plain.length < columns ? plain : `${plain.slice(0, Math.max(1, columns - 2))}…`
}
