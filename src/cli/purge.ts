import { Command, InvalidArgumentError } from 'commander'

/** `reflex-bridge purge`: deletes old rows of a route's event table. */
export function purgeCommand(): Command {
  return new Command('purge')
    .description("Delete the rows of a route's event table that every consumer has read, in small transactions.")
    .argument('<config>', 'the file that the route is run with')
    .argument('<route>', 'the name of the route whose source is purged')
    .option('--keep <duration>', 'keep rows that are younger, for example 7d, 12h, 30m or 45s', duration, 0)
    .option('--except <name...>', 'consumers in the same cursor store that read another log, or are gone for good')
    .option('--dry-run', 'only say what would be deleted')
    .option('--json', 'print the result as one object')
    .addHelpText('after', HELP)
    .action(async (path: string, route: string, options: PurgeCommandOptions) => {
      const { purgeRoute } = await import('./purge/purge-route.ts')
      process.exitCode = await purgeRoute(path, route, options)
    })
}

interface PurgeCommandOptions {
  readonly keep: number
  readonly except?: readonly string[]
  readonly dryRun?: true
  readonly json?: true
}

const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** In ms. */
function duration(text: string): number {
  const [, amount, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  if (amount !== undefined) return Number(amount) * (units[unit] ?? 0)
  throw new InvalidArgumentError(`expected a number and a unit, as 7d, 12h, 30m or 45s, found ${JSON.stringify(text)}`)
}

const HELP = `
Nothing goes that a route of the configuration which reads this table, or any other consumer in the stores of their checkpoints, has
not read; nothing at all before each of those routes has a checkpoint. The newest row stays. What a destination loses of its tail is
refilled from the table: keep as much as that may take.

It may be ended at any time, be run while the routes are at work, and be run again. Progress is on stderr. For MySQL, MariaDB and
SQLite.

Exit codes: 0 done, 1 failed or refused, with nothing deleted, 2 wrong input, 130 stopped: the same command goes on.

Examples:
  $ reflex-bridge purge bridge.yaml orders --keep 7d --dry-run
  $ reflex-bridge purge bridge.yaml orders --keep 7d`
