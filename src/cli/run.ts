import { Command } from 'commander'
import { wholeNumber } from './whole-number.ts'

/** `reflex-bridge run`: forwards the routes of a configuration. */
export function runCommand(): Command {
  return new Command('run')
    .description(
      'Run the routes of a configuration, each on its own. A route that fails starts again, with growing pauses; one that ' +
        'cannot go on ends and says what to do, and the others go on.',
    )
    .argument('<config>', 'file in YAML or JSON')
    .option('--once', 'forward what is there and end; the first failure of a route ends it')
    .option('--drain <ms>', 'how long what is under way may take when it is told to stop', wholeNumber)
    .option('--create-tables', 'create the tables that are missing')
    .option('--json', 'print log lines in JSON on a terminal too')
    .addHelpText('after', HELP)
    .action(async (path: string, options: RunCommandOptions, command: Command) => {
      const { runConfig } = await import('./run/run-config.ts')
      const { debug = false } = command.optsWithGlobals<{ debug?: true }>()
      process.exitCode = await runConfig(path, { ...options, debug })
    })
}

interface RunCommandOptions {
  readonly once?: true
  readonly createTables?: true
  readonly drain?: number
  readonly json?: true
}

const HELP = `
A configuration:

  logLevel: info                   # trace, debug, info, warn, error or silent
  createTables: true               # create the tables that are missing
  standby: true                    # several processes may run this: one has a route, another takes over
  leaseMs: 10000                   # for so long one that dies keeps its routes from the others
  drainMs: 10000                   # what is not confirmed so long after Ctrl-C is abandoned, without loss
  routes:
    orders:                        # the checkpoint is kept under this name
      source:
        url: mysql://app@127.0.0.1:3306/shop
        password: \${DB_PASSWORD}
        table: events
      sink:
        url: redis://127.0.0.1:6379/0
        key: orders
      fromHead: false              # true: a new route starts with what comes from now on

\${NAME} is the environment variable of that name, \${NAME:-default} one that may be missing. sqlite:PATH is a file, relative to
the configuration's folder. Checkpoints are kept beside the source, or where checkpoints: { url: … } says.

Progress is one line per route on a terminal, and log lines in JSON elsewhere. Ctrl-C (SIGTERM) confirms and saves what is
under way, and ends, at the latest after drainMs; a second one ends at once.

Exit codes: 0 stopped, or with --once all forwarded; 1 a route ended for good; 2 wrong input.

Examples:
  $ reflex-bridge run bridge.yaml
  $ DB_PASSWORD=secret reflex-bridge run bridge.yaml --create-tables
  $ reflex-bridge run bridge.yaml --once --json | tee bridge.log`
