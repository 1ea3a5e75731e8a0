import { Command } from 'commander'

/** `reflex-bridge status`: where the routes of a configuration stand. */
export function statusCommand(): Command {
  return new Command('status')
    .description(
      'Say where routes stand: checkpoint, head, backlog in events and seconds, what holds them up, what operators want of ' +
        'them, who has them, and what of their destinations can lose events. Works whether a process runs them or not, and changes nothing.',
    )
    .argument('<config>', 'file in YAML or JSON')
    .argument('[route...]', 'only these routes')
    .option('--watch', 'say so again every 2 s, until Ctrl-C')
    .option('--json', 'print one JSON object a route')
    .addHelpText('after', HELP)
    .action(async (path: string, routes: string[], options: StatusCommandOptions, command: Command) => {
      const { statusConfig } = await import('./status/status-config.ts')
      const { debug = false } = command.optsWithGlobals<{ debug?: true }>()
      const { json = false, watch = false } = options
      process.exitCode = await statusConfig(path, { routes, watch, json, debug })
    })
}

interface StatusCommandOptions {
  readonly watch?: true
  readonly json?: true
}

const HELP = `
Each part of a route is asked for at most 5 s; what cannot be asked is said, and the rest all the same.

Exit codes: 0 every part has answered, 1 one has not, 2 wrong input, 130 stopped before that was known.

Examples:
  $ reflex-bridge status bridge.yaml
  $ reflex-bridge status bridge.yaml orders --watch
  $ reflex-bridge status bridge.yaml --json | jq -r '[.route, .backlog.count] | @tsv'`
