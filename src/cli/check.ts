import { Command } from 'commander'

/** `reflex-bridge check`: proves that the routes of a configuration can be run. */
export function checkCommand(): Command {
  return new Command('check')
    .description(
      'Connect to everything that a configuration names and say what is wrong, and what mends it: privileges, tables, topics ' +
        'and streams, checkpoints, and settings that can lose events. Changes nothing, and takes nothing over.',
    )
    .argument('<config>', 'file in YAML or JSON')
    .argument('[route...]', 'only these routes')
    .option('--create-tables', 'what is missing is no error, as it will be created')
    .option('--json', 'print one JSON object a route, and one with the counts')
    .addHelpText('after', HELP)
    .action(async (path: string, routes: string[], options: CheckCommandOptions, command: Command) => {
      const { checkConfig } = await import('./check/check-config.ts')
      const { debug = false } = command.optsWithGlobals<{ debug?: true }>()
      const { json = false, createTables } = options
      process.exitCode = await checkConfig(path, { routes, createTables, json, debug })
    })
}

interface CheckCommandOptions {
  readonly createTables?: true
  readonly json?: true
}

const HELP = `
May be run while the routes are at work. The last line counts the routes that can be run, and those that cannot.

Exit codes: 0 all can be run, 1 one cannot, 2 wrong input, 130 stopped.

Examples:
  $ reflex-bridge check bridge.yaml
  $ reflex-bridge check bridge.yaml orders --json`
