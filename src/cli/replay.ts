import { Command } from 'commander'

/** `reflex-bridge replay`: forwards a range of a route's source into a new destination. */
export function replayCommand(): Command {
  return new Command('replay')
    .description(
      "Forward a range of a route's source into a new destination, as the route does: once and in order. The route and its " +
        'destination are left alone. What is stopped goes on where it was when the same is started again.',
    )
    .argument('<config>', 'the file that the routes are run with')
    .argument('<route>', 'the name of the route')
    .requiredOption('--into <new>', 'another topic, key, subject (or stream/subject) or table, where nothing is yet')
    .option('--from <position>', 'after this cursor of the source, or time (default: from its earliest event)')
    .option('--to <position>', 'up to this cursor of the source, or time, or head', 'head')
    .option('--json', 'print one JSON object')
    .addHelpText('after', HELP)
    .action(async (path: string, route: string, options: ReplayCommandOptions) => {
      const { replayOf } = await import('./replay/replay-of.ts')
      process.exitCode = await replayOf(path, { route, ...options })
    })
}

interface ReplayCommandOptions {
  readonly into: string
  readonly from?: string
  readonly to: string
  readonly json?: true
}

const HELP = `
The new destination is at the place of the old one, and is made if it is missing. One that has entries is refused, unless this
replay has put them there: its position is kept beside that of the route, under ROUTE.replay.NEW. Until a purge is told to leave
it out (--except ROUTE.replay.NEW) it holds rows back as any consumer does. Events that the route was let past are left out.

Exit codes: 0 all is there, 1 refused or failed, 2 wrong input, 130 stopped.

Examples:
  $ reflex-bridge replay bridge.yaml orders --into orders-v2
  $ reflex-bridge replay bridge.yaml orders --into orders-today --from 2026-11-26T00:00:00Z
  $ reflex-bridge replay bridge.yaml orders --into ORDERS2/orders2 --from 1000 --to 2000`
