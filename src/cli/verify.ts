import { Command, InvalidArgumentError, Option } from 'commander'
import type { Kind } from '../testing/conformance/suites.ts'

const kinds = ['source', 'cursors', 'sink', 'run', 'bridge'] as const satisfies readonly Kind[]

/** `reflex-bridge verify`: holds an implementation of one's own against its conformance suite. */
export function verifyCommand(): Command {
  return new Command('verify')
    .description(
      'Hold an adapter of your own against every property of its conformance suite: random schedules with faults in them, ' +
        'each on a fresh subject, checked after every step. What breaks is shrunk, and printed with a token that plays it again.',
    )
    .argument('[module]', 'file in TypeScript or JavaScript that exports create; --list needs none')
    .option('--of <kind>', `${kinds.join(', ')} (default: what the module says, else source)`, kind)
    .option('--runs <n>', 'the most schedules per property (default: 100)', positive)
    .option('--seed <n>', 'a 32-bit integer; the same seed plays the same schedules (default: a new one)', seed)
    .option('--only <ids>', 'only these properties, for example S12,L2', ids)
    .option('--limit <ms>', 'what takes longer hangs (default: 5000); less is of use in memory', milliseconds)
    .option('--time-limit <ms>', 'per property, no schedule is begun after this (default: 10000)', milliseconds)
    .option('--json', 'print one JSON object on stdout, and the text on stderr')
    .option('--report <file>', 'write a page in HTML too')
    .addOption(
      new Option('--replay <token>', 'play the schedule that a failure printed, and no other').conflicts([
        'runs',
        'seed',
        'only',
        'timeLimit',
        'report',
      ]),
    )
    .addOption(
      new Option('--list', 'print the properties of a kind, and test nothing').conflicts([
        'runs',
        'seed',
        'limit',
        'timeLimit',
        'report',
        'replay',
      ]),
    )
    .addHelpText('after', HELP)
    .action(async (path: string | undefined, options: VerifyCommandOptions, command: Command) => {
      const { list, replay: token, json = false, of, only, limit: limitMs, timeLimit: timeLimitMs, ...rest } = options
      const { debug = false } = command.optsWithGlobals<{ debug?: true }>()
      if (list) {
        const { listProperties } = await import('./verify/list-properties.ts')
        return listProperties({ of, only, json })
      }
      if (path === undefined) return command.error("error: missing required argument 'module'")
      const { verifyModule } = await import('./verify/verify-module.ts')
      process.exitCode = await verifyModule(path, { ...rest, of, only, limitMs, timeLimitMs, token, json, debug })
    })
}

interface VerifyCommandOptions {
  readonly of?: Kind
  readonly runs?: number
  readonly seed?: number
  readonly only?: readonly string[]
  readonly limit?: number
  readonly timeLimit?: number
  readonly json?: true
  readonly report?: string
  readonly replay?: string
  readonly list?: true
}

function kind(text: string): Kind {
  const found = kinds.find((each) => each === text)
  if (found !== undefined) return found
  throw new InvalidArgumentError(`expected one of ${kinds.join(', ')}, found ${JSON.stringify(text)}`)
}

function positive(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text)
  throw new InvalidArgumentError(`expected a whole number from 1 on, found ${JSON.stringify(text)}`)
}

function milliseconds(text: string): number {
  const ms = positive(text)
  if (ms < 2 ** 31) return ms // the most that a timer can wait
  throw new InvalidArgumentError(`expected milliseconds, at most 2147483647, found ${text}`)
}

function seed(text: string): number {
  if (/^-?\d{1,10}$/.test(text) && Number(text) === (Number(text) | 0)) return Number(text)
  throw new InvalidArgumentError(`expected a 32-bit integer, found ${JSON.stringify(text)}`)
}

function ids(text: string): string[] {
  const found = text.split(',').map((id) => id.trim())
  if (found.every((id) => id !== '')) return found
  throw new InvalidArgumentError(`expected ids with commas between them, like S12,L2, found ${JSON.stringify(text)}`)
}

const HELP = `
A module, here over the log in memory; TypeScript runs as it is:

  import { memoryLog } from "reflex-bridge"

  export function create() {       // a fresh and empty subject, once per schedule
    const log = memoryLog()
    return {
      source: log.source,
      append: async (events) => log.append(...events).map(({ id }) => id),
      trim: async (id) => log.trim(id), // the faults that can be staged are what is tested
    }
  }
  export const of = "source"       // or cursors, sink, run, bridge; may be left out for a source

fast-check has to be installed: npm install --save-dev fast-check. The module runs in a thread of its own; one that hangs is
reported, not waited for. Progress goes to stderr: a live line on a terminal, else a line per property.

Ctrl-C (SIGTERM) ends after the schedule under way, with what was found so far; a second one ends at once.

Exit codes: 0 all passed (what is untested is listed); 1 something failed, or no subject could be made; 2 wrong input; 130
stopped.

Examples:
  $ reflex-bridge verify --list
  $ reflex-bridge verify ./my-adapter.ts
  $ reflex-bridge verify ./my-adapter.ts --only S12,S14 --runs 1000 --seed 7 --report report.html
  $ reflex-bridge verify ./my-adapter.ts --replay TOKEN`
