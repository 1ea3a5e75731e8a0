import { Command } from 'commander'

/** `reflex-bridge reset`: moves a route forward. */
export function resetCommand(): Command {
  return new Command('reset')
    .description(
      'Move a route forward: it goes on after the position that is given, and what lies before it and is not forwarded yet never ' +
        'is. A route that has not run yet begins there. Refused while a process may run the route, and backward.',
    )
    .argument('<config>', 'the file that the routes are run with')
    .argument('<route>', 'the name of the route')
    .requiredOption('--to <position>', 'a cursor of the source, head, or a time like 2026-11-26T05:00:00Z')
    .option('--json', 'print one JSON object')
    .addHelpText('after', HELP)
    .action(async (path: string, route: string, options: { readonly to: string; readonly json?: true }) => {
      const { resetOf } = await import('./reset/reset-of.ts')
      await resetOf(path, { route, ...options })
    })
}

const HELP = `
Stop the route first (reflex-bridge stop), and resume it afterwards; with standby it is enough that no process has its lease. The
position counts as the beginning of the route: verify judges what follows it. To send events once more, fill a new destination
(reflex-bridge replay): in this one they would stand twice.

Prints who moved what from where to where, for the record. With --json: route, from, to, passed, by, at.

Exit codes: 0 moved, 1 refused or failed, 2 wrong input, 130 stopped.

Examples:
  $ reflex-bridge stop bridge.yaml orders
  $ reflex-bridge reset bridge.yaml orders --to head
  $ reflex-bridge reset bridge.yaml orders --to 2026-11-26T05:00:00Z
  $ reflex-bridge resume bridge.yaml orders`
