// Holds every broken implementation under test/zoo, and those of further modules, against the suites: each must be found out.
// Usage: npm run zoo [-- --json] [--module FILE]... [--only WORDS] [--seed N] [--seeds N]
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { describeFailure } from '../src/testing/conformance/describe-failure.ts'
import { suiteOf } from '../src/testing/conformance/suites.ts'
import { correctCases, zooCases } from '../test/zoo/cases.ts'
import { findFalseAlarm, hunt } from '../test/zoo/hunt.ts'
import type { ZooCase } from '../test/zoo/zoo-case.ts'

/** With a thousand seeds that is a thousand schedules of each property. */
const RUNS_PER_SEED = 1

const usage = `Usage: npm run zoo [-- OPTION...]

  --module FILE   further cases, from a module that exports arrays of { name, of, create }: of is source (the default),
                  cursors, sink, run or bridge, and create makes what conformance() takes. May be given several times.
                  What it exports as correct must raise no alarm.
  --only WORDS    only the cases whose name contains these words
  --seed N        where the schedules begin. Default: 1
  --seeds N       how many seeds the correct implementations are held against. Default: 1000
  --verbose       print each counterexample
  --json          the last line is {"total":…,"killed":…,"survivors":[…],"medianCommands":…,"falseAlarms":…}

Exit code 1 if a broken implementation survives, or a correct one is accused; 2 for wrong input.`

try {
  process.exitCode = await main()
} catch (error) {
  console.error(`zoo: ${error instanceof Error ? error.message : String(error)}`)
  process.exitCode = 2
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean', default: false },
      verbose: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
      module: { type: 'string', multiple: true, default: [] },
      only: { type: 'string', default: '' },
      seed: { type: 'string', default: '1' },
      seeds: { type: 'string', default: '1000' },
    },
  })
  if (values.help) {
    console.log(usage)
    return 0
  }
  const seed = wholeNumber('--seed', values.seed)
  const seeds = wholeNumber('--seeds', values.seeds)
  const further = await Promise.all(values.module.map(casesOf))
  const isWanted = ({ name }: ZooCase): boolean => name.includes(values.only)
  const broken = [...zooCases, ...further.flatMap(({ broken }) => broken)].filter(isWanted)
  const correct = [...correctCases, ...further.flatMap(({ correct }) => correct)].filter(isWanted)

  const survivors: string[] = []
  const commands: number[] = []
  for (const zooCase of broken) {
    const { failure, schedules, elapsedMs } = await hunt(zooCase, seed)
    const time = `${(elapsedMs / 1000).toFixed(2)} s, ${schedules} schedules`
    if (failure === undefined) {
      survivors.push(`${zooCase.of}: ${zooCase.name}`)
      console.log(`SURVIVES  ${zooCase.of.padEnd(7)} ${zooCase.name} (${time})`)
      continue
    }
    const { property, schedule } = failure
    commands.push(schedule.length)
    console.log(
      `killed by ${property.padEnd(4)} ${zooCase.of.padEnd(7)} ${zooCase.name} (${schedule.length} commands, ${time})`,
    )
    const rule = suiteOf(zooCase.of).properties.find(({ id }) => id === property)
    if (values.verbose && rule !== undefined) console.log(`${describeFailure(zooCase.of, failure, rule)}\n`)
  }
  let falseAlarms = 0
  let checked = 0
  for (const zooCase of correct) {
    const { alarm, schedules } = await findFalseAlarm(zooCase, { seeds, runs: RUNS_PER_SEED })
    checked += schedules
    if (alarm === undefined) {
      console.log(`no alarm       ${zooCase.of.padEnd(7)} ${zooCase.name} (${seeds} seeds, ${schedules} schedules)`)
      continue
    }
    falseAlarms++
    console.log(`FALSE ALARM    ${zooCase.of.padEnd(7)} ${zooCase.name}, seed ${alarm.seed}`)
    const rule = suiteOf(zooCase.of).properties.find(({ id }) => id === alarm.failure.property)
    if (rule !== undefined) console.log(describeFailure(zooCase.of, alarm.failure, rule))
  }
  const killed = commands.length
  const medianCommands = median(commands)
  console.log(
    `${killed} of ${broken.length} killed, ${medianCommands} commands in the median; ${falseAlarms} false alarms in ${checked} schedules of ${correct.length} correct implementations`,
  )
  if (values.json) console.log(JSON.stringify({ total: broken.length, killed, survivors, medianCommands, falseAlarms }))
  return survivors.length + falseAlarms === 0 ? 0 : 1
}

/** The cases that a module exports, under any name; those under `correct` are not broken. */
async function casesOf(file: string): Promise<{ broken: ZooCase[]; correct: ZooCase[] }> {
  const exported = (await import(pathToFileURL(file).href)) as Readonly<Record<string, unknown>>
  const broken: ZooCase[] = []
  const correct: ZooCase[] = []
  for (const [name, value] of Object.entries(exported)) {
    if (!Array.isArray(value)) continue
    for (const each of value as Partial<ZooCase>[]) {
      if (typeof each?.name !== 'string' || typeof each.create !== 'function') continue
      suiteOf(each.of ?? 'source')
      const zooCase: ZooCase = { of: 'source', ...each, name: each.name, create: each.create }
      if (/correct/i.test(name)) correct.push(zooCase)
      else broken.push(zooCase)
    }
  }
  if (broken.length + correct.length > 0) return { broken, correct }
  throw new Error(
    `${file} exports no cases: expected an array of { name, of, create }, found ${Object.keys(exported).join(', ') || 'nothing'}`,
  )
}

function wholeNumber(option: string, text: string): number {
  const value = Number(text)
  if (Number.isSafeInteger(value) && value >= 0) return value
  throw new Error(`${option} must be a whole number, but is ${JSON.stringify(text)}`)
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  if (sorted.length === 0) return 0
  return sorted.length % 2 === 1
    ? (sorted[Math.floor(middle)] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}
