import { styleText } from 'node:util'
import { maskPasswords } from '../../service/mask-passwords.ts'
import { printable } from '../printable.ts'
import { countsOf, type Findings, foundTogether, refusalsOf, whyOf } from './finding.ts'
import { formatDuration } from './format-duration.ts'

/** How it is printed. */
export interface FormatOptions {
  /** Where colours are asked for; a terminal's width is kept within. */
  readonly to: NodeJS.WriteStream
  /** The stacks of what was thrown too. */
  readonly debug: boolean
}

const colors = { passed: 'green', failed: 'red', untested: 'yellow' } as const

/** Everything that was found, for people: each failure, the table, what was refused, and a last line that counts. */
export function formatFindings(findings: Findings, { to, debug }: FormatOptions): string {
  const { properties, left } = findings
  const width = to.isTTY ? Math.max(60, to.columns || 80) : Number.POSITIVE_INFINITY
  const style = (format: 'green' | 'red' | 'yellow' | 'bold' | 'dim', text: string): string =>
    styleText(format, text, { stream: to })
  const lines: string[] = []
  const idWidth = Math.max(2, ...properties.map(({ id }) => id.length))
  const indent = idWidth + 45
  const row = (id: string, grade: string, outcome: string, schedules: string, time: string): string =>
    `${id.padEnd(idWidth)}  ${grade.padEnd(10)}  ${outcome}  ${schedules.padStart(9)}  ${time.padStart(8)}  `
  if (properties.length > 0) lines.push(style('bold', `${row('id', 'grade', 'outcome ', 'schedules', 'time')}rule`))
  for (const finding of properties) {
    const { id, grade, outcome, schedules, elapsedMs, title } = finding
    const [first = '', ...more] = wrapped(safe(title), width - indent)
    const colored = style(colors[outcome], outcome.padEnd(8))
    const played = schedules === 0 ? '–' : schedules.toLocaleString('en')
    lines.push(row(id, grade, colored, played, formatDuration(elapsedMs)) + first)
    const reason = whyOf(finding)
    const rest = [...more, ...(reason === undefined ? [] : wrapped(safe(reason), width - indent))]
    lines.push(...rest.map((line) => ' '.repeat(indent) + line))
  }
  const refusals = [...refusalsOf(findings)]
  if (refusals.length > 0) lines.push('', 'Refused by what is under test, so that nothing is known about it:')
  for (const [refusal, ids] of refusals) lines.push(`  ${safe(refusal)} (${ids.join(', ')})`)
  for (const { failure, ids } of foundTogether(findings)) {
    const [head = '', ...rest] = failure.text.split('\n').map(safe)
    lines.push('', style('red', head))
    if (ids.length > 1 || ids[0] !== failure.property)
      lines.push(`Found while ${ids.join(', ')} ${ids.length === 1 ? 'was' : 'were'} looked at.`)
    lines.push(...rest)
    if (debug && failure.stack !== undefined) lines.push('Thrown:', ...failure.stack.split('\n').map(safe))
  }
  if (left.length > 0) lines.push('', `Not looked at: ${left.join(', ')}`)
  lines.push('', lastLine(findings))
  return lines.join('\n')
}

/** `N passed, N failed, N untested; M schedules; seed S`. */
function lastLine(findings: Findings): string {
  const { passed, failed, untested } = countsOf(findings)
  const { schedules, seed } = findings
  return `${passed} passed, ${failed} failed, ${untested} untested; ${schedules.toLocaleString('en')} schedules; seed ${seed}`
}

function safe(text: string): string {
  return printable(maskPasswords(text))
}

/** Lines of at most so many columns, broken at spaces. */
function wrapped(text: string, columns: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length >= columns) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
