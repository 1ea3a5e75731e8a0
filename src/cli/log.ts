import { Command } from 'commander'

/** `reflex-bridge log`: what operators have done to routes. */
export function logCommand(): Command {
  return new Command('log')
    .description(
      'Print what operators have done to routes, the oldest first: each event that was skipped, with the reason, and each reset. Changes nothing.',
    )
    .argument('<config>', 'the file that the routes are run with')
    .argument('[route...]', 'names of routes; default: all')
    .option('--json', 'print one JSON object an entry')
    .addHelpText('after', HELP)
    .action(async (path: string, routes: string[], { json = false }: { readonly json?: boolean }) => {
      const { logOf } = await import('./log/log-of.ts')
      await logOf(path, { routes, json })
    })
}

const HELP = `
Works whether a process runs the route or not: it is kept beside the checkpoint, for good.

With --json: route, at, by, and did: "skip" with eventId and why, or "reset" with from and to, the checkpoints before and after.

Exit codes: 0 printed, 1 failed, 2 wrong input, 130 stopped.

Example:
  $ reflex-bridge log bridge.yaml orders --json | jq -r 'select(.did == "skip").eventId'`
