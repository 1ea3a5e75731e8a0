import { Command, InvalidArgumentError, Option } from 'commander'
import { OptionError } from '../core/errors.ts'
import type { Kind } from '../testing/conformance/suites.ts'

const kinds = ['source', 'cursors', 'sink', 'run', 'bridge'] as const satisfies readonly Kind[]

/** `reflex-bridge verify`: holds the destinations of a configuration against their sources, or an adapter against its suite. */
export function verifyCommand(): Command {
  return new Command('verify')
    .description(
      'Of a configuration (.yaml, .yml, .json): hold the destination of each route against its source, and print what is lost, ' +
        'duplicated, reordered or changed, with ids. Changes nothing, and may be run while the routes are at work.\n' +
        'Of a module (.ts, .js, .mjs …): hold an adapter of your own against every property of its conformance suite: random ' +
        'schedules with faults in them, each on a fresh subject. What breaks is shrunk, and printed with a token that plays it again.',
    )
    .argument('[file]', 'a configuration, or a module that exports create; --list needs none')
    .argument('[route...]', 'of a configuration: only these routes')
    .optionsGroup('Of a configuration:')
    .option('--from <cursor>', 'only events after this position of the source (default: where the route started)')
    .option('--to <cursor>', 'only events up to this one, or head (default: what the route has forwarded)')
    .option(
      '--repair',
      'have the route refill a destination that lost its tail; refused while a process may run the route',
    )
    .optionsGroup('Of a module:')
    .option('--of <kind>', `${kinds.join(', ')} (default: what the module says, else source)`, kind)
    .option('--runs <n>', 'the most schedules per property (default: 100)', positive)
    .option('--seed <n>', 'a 32-bit integer; the same seed plays the same schedules (default: a new one)', seed)
    .option('--only <ids>', 'only these properties, for example S12,L2', ids)
    .option('--limit <ms>', 'what takes longer hangs (default: 5000); less is of use in memory', milliseconds)
    .option('--time-limit <ms>', 'per property, no schedule is begun after this (default: 10000)', milliseconds)
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
    .optionsGroup('Of both:')
    .option('--json', 'print JSON on stdout: one object a route, or one of the suite and its text on stderr')
    .addHelpText('after', HELP)
    .action(async (path: string | undefined, routes: string[], options: VerifyCommandOptions, command: Command) => {
      const { list, replay: token, json = false, of, only, limit: limitMs, timeLimit: timeLimitMs, ...more } = options
      const { from, to, repair = false, ...rest } = more
      const { debug = false } = command.optsWithGlobals<{ debug?: true }>()
      const isConfig = path !== undefined && /\.(ya?ml|json)$/i.test(path)
      refuseOptions(command, isConfig ? ofModule : ofConfig, isConfig ? 'module' : 'configuration')
      if (isConfig) {
        const { verifyConfig } = await import('./verify/verify-config.ts')
        process.exitCode = await verifyConfig(path, { routes, from, to, repair, json, debug })
        return
      }
      if (routes.length > 0) throw new OptionError(`expected one module, found also ${routes.join(', ')}`)
      if (list) {
        const { listProperties } = await import('./verify/list-properties.ts')
        return listProperties({ of, only, json })
      }
      if (path === undefined) return command.error("error: missing required argument 'file'")
      const { verifyModule } = await import('./verify/verify-module.ts')
      process.exitCode = await verifyModule(path, { ...rest, of, only, limitMs, timeLimitMs, token, json, debug })
    })
}

const ofConfig = ['from', 'to', 'repair']
const ofModule = ['of', 'runs', 'seed', 'only', 'limit', 'timeLimit', 'report', 'replay', 'list']

/** Options of the other kind of verification mean nothing here, and are not ignored. */
function refuseOptions(command: Command, names: readonly string[], kind: string): void {
  const given = command.options.filter((option) => names.includes(option.attributeName()))
  const found = given.filter((option) => command.getOptionValue(option.attributeName()) !== undefined)
  if (found.length === 0) return
  throw new OptionError(`${found.map(({ long }) => long).join(', ')} can only be used with a ${kind}`)
}

interface VerifyCommandOptions {
  readonly from?: string
  readonly to?: string
  readonly repair?: true
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
What a route has forwarded ends at its checkpoint: nothing after it counts as lost, unless --to says so. What a destination has
removed by retention is told apart. --repair does what the route itself does when it opens a destination that lost its tail, and
looks again; what is missing in the middle cannot be put back in order, and is left to replay.

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

Exit codes: 0 all is well (what is untested is listed); 1 something is not, or could not be looked at; 2 wrong input; 130 stopped.

Examples:
  $ reflex-bridge verify bridge.yaml
  $ reflex-bridge verify bridge.yaml orders --from 1000000 --json
  $ reflex-bridge verify bridge.yaml orders --repair
  $ reflex-bridge verify --list
  $ reflex-bridge verify ./my-adapter.ts
  $ reflex-bridge verify ./my-adapter.ts --only S12,S14 --runs 1000 --seed 7 --report report.html
  $ reflex-bridge verify ./my-adapter.ts --replay TOKEN`
