import { Command, InvalidArgumentError } from 'commander'

/** `reflex-bridge skip`: lets a route go past an event that can never be sent. */
export function skipCommand(): Command {
  return new Command('skip')
    .description(
      'Let a route go past the event that it stands at, without sending it. Who said so, when and why is kept in its checkpoint.',
    )
    .argument('<config>', 'the file that the routes are run with')
    .argument('<route>', 'the name of the route')
    .argument('<id>', 'the id of the event in the source, as the error of the route names it')
    .requiredOption('--why <text>', 'why it is not to be sent, for the record', reason)
    .option('--json', 'print one JSON object')
    .addHelpText('after', HELP)
    .action(
      async (path: string, route: string, id: string, options: { readonly why: string; readonly json?: true }) => {
        const { skipOf } = await import('./skip/skip-of.ts')
        await skipOf(path, { route, id, ...options })
      },
    )
}

function reason(value: string): string {
  if (value.trim() === '') throw new InvalidArgumentError('expected a reason, found empty text')
  return value
}

const HELP = `
Refused unless the route stands at that very event: it is the first one after the checkpoint. A process that runs the route goes past
it with its next attempt, within half a minute. Events of the same foreignId that follow are sent. Safe to repeat.

With --json: route, eventId, by, at, why, and repeated, which is true if it had been said before.

Exit codes: 0 it is skipped, 1 refused or failed, 2 wrong input, 130 stopped.

Example:
  $ reflex-bridge skip bridge.yaml orders 4711 --why 'header with a broken name, customer told'`
