import { printable } from '../printable.ts'
import { countsOf, type Finding, type Findings, foundTogether, refusalsOf, type Together, whyOf } from './finding.ts'
import { formatDuration } from './format-duration.ts'
import { reportStyle } from './report-style.ts'

/** When and with what it was found. */
export interface ReportOptions {
  readonly date: Date
  /** By name. */
  readonly versions: Readonly<Record<string, string>>
}

/** Everything that was found as one page: nothing is loaded from elsewhere, and no script is needed. */
export function htmlReport(findings: Findings, { date, versions }: ReportOptions): string {
  const { module, of, properties, left, schedules, elapsedMs, seed, runs } = findings
  const { passed, failed, untested } = countsOf(findings)
  const failures = foundTogether(findings)
  const refusals = [...refusalsOf(findings)]
  const verdict =
    failed > 0
      ? `${failed} of ${properties.length} properties failed.`
      : left.length > 0
        ? `Not finished: ${left.length} properties were not looked at.`
        : passed === 0
          ? 'Nothing was tested.'
          : `Every property that was tested holds${untested === 0 ? '' : `; ${untested} could not be tested`}.`
  const kind = failed > 0 ? 'failed' : left.length > 0 || passed === 0 ? 'untested' : 'passed'
  const facts: readonly (readonly [string, string])[] = [
    ['Module', code(module)],
    ['Under test', text(of)],
    ['Seed', code(String(seed))],
    ['Schedules per property', `at most ${number(runs)}`],
    [
      'Versions',
      Object.entries(versions)
        .map(([name, version]) => text(`${name} ${version}`))
        .join(', '),
    ],
    [
      'Date',
      `<time datetime="${text(date.toISOString())}">${text(`${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`)}</time>`,
    ],
  ]
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${text(`${failed > 0 ? 'Failed' : 'Conformance'}: ${module}`)}</title>
<style>${reportStyle}</style>
</head>
<body>
<main>
<header>
<p class="soft">reflex-bridge conformance report</p>
<h1>${text(module)}</h1>
<p class="verdict ${kind}">${text(verdict)}</p>
<div class="numbers">
${[
  number(passed, 'passed'),
  number(failed, 'failed'),
  number(untested, 'untested'),
  number(schedules, schedules === 1 ? 'schedule' : 'schedules'),
  `<div><b>${formatDuration(elapsedMs)}</b><span>in all</span></div>`,
].join('\n')}
</div>
<dl class="facts">
${facts.map(([name, html]) => `<dt>${text(name)}</dt><dd>${html}</dd>`).join('\n')}
</dl>
</header>
${failures.length === 0 ? '' : section('Failures', failures.map((each) => cardOf(each, module)).join('\n'))}
${section('Properties', tableOf(findings))}
${refusals.length === 0 ? '' : section('Refused', refusedOf(refusals))}
${left.length === 0 ? '' : section('Not looked at', `<p>${left.map(code).join(', ')}</p>`)}
</main>
</body>
</html>
`
}

function section(title: string, html: string): string {
  return `<section>\n<h2>${text(title)}</h2>\n${html}\n</section>`
}

function tableOf({ properties }: Findings): string {
  const rows = properties.map((finding) => {
    const { id, grade, outcome, schedules, elapsedMs, title } = finding
    const why = whyOf(finding)
    const name =
      finding.failure === undefined ? text(id) : `<a href="#${text(anchor(finding.failure.token))}">${text(id)}</a>`
    return `<tr>
<td><b>${name}</b></td>
<td class="soft">${text(grade)}</td>
<td><span class="badge ${outcome}">${outcome}</span></td>
<td class="number">${schedules === 0 ? '–' : number(schedules)}</td>
<td class="number">${formatDuration(elapsedMs)}</td>
<td>${prose(title)}${why === undefined ? '' : `<small>${prose(why)}</small>`}</td>
</tr>`
  })
  return `<div class="table">
<table>
<thead><tr><th>Id</th><th>Grade</th><th>Outcome</th><th class="number">Schedules</th><th class="number">Time</th><th>Rule</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>
</div>`
}

function cardOf({ failure, ids }: Together, module: string): string {
  const { property, message, rule, why, steps, schedule, foundWith, token, test } = failure
  const shrunk = foundWith > schedule.length ? `, shrunk from ${foundWith}` : ''
  const commands = schedule.length === 1 ? '1 command' : `${schedule.length} commands`
  const elsewhere =
    ids.length === 1 && ids[0] === property
      ? ''
      : `<p class="soft">Found while ${text(ids.join(', '))} ${ids.length === 1 ? 'was' : 'were'} looked at.</p>`
  return `<article class="card" id="${text(anchor(token))}">
<h3><span class="failed">${text(property)} broken:</span> ${text(message)}</h3>
<p><b>The rule:</b> ${prose(rule)}</p>
${why === '' ? '' : `<p><b>Why it matters:</b> ${prose(why)}</p>`}
${elsewhere}
<h4>After these steps (${commands}${shrunk})</h4>
<ol>
${steps.map((step) => `<li>${text(step)}</li>`).join('\n')}
</ol>
<h4>Replay</h4>
<pre class="command">${text(`reflex-bridge verify ${module} --replay `)}<b>${text(token)}</b></pre>
<h4>As a test</h4>
<pre>${text(test)}</pre>
</article>`
}

function refusedOf(refusals: readonly (readonly [string, readonly string[]])[]): string {
  const items = refusals.map(
    ([refusal, ids]) => `<li>${prose(refusal)} <span class="soft">(${text(ids.join(', '))})</span></li>`,
  )
  return `<p>By what is under test, which is honest: nothing is known about it.</p>\n<ul class="note">\n${items.join('\n')}\n</ul>`
}

function anchor(token: string): string {
  return `failure-${token}`
}

function number(value: number, of?: Finding['outcome'] | 'schedule' | 'schedules'): string {
  const shown = value.toLocaleString('en')
  if (of === undefined) return shown
  return `<div><b${value > 0 ? ` class="${of}"` : ''}>${shown}</b><span>${of}</span></div>`
}

function code(value: string): string {
  return `<code>${text(value)}</code>`
}

/** Text with code between backticks. */
function prose(value: string): string {
  return text(value).replace(/`([^`]+)`/g, '<code>$1</code>')
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Text that is no markup; control characters, which could hide or turn around what follows, are shown as in JSON. */
function text(value: string): string {
  const lines = value.toWellFormed().split('\n').map(printable)
  return lines.join('\n').replace(/[&<>"']/g, (char) => entities[char] ?? char)
}
