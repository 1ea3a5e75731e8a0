import { Command } from 'commander'

/** `reflex-bridge dlq`: looks into the dead letters of routes, and gives them up. */
export function dlqCommand(): Command {
  const dlq = new Command('dlq').description(
    'Events that a route could never send and has put into its dead letters, and those of the same foreignId that wait for them.',
  )
  const options = (command: Command): Command =>
    command.option('--json', 'print one JSON object a letter').addHelpText('after', HELP)
  const list = new Command('list')
    .description('Print the open dead letters of routes, in the order in which they were put there.')
    .argument('<config>', 'the file that the routes are run with')
    .argument('[route...]', 'names of routes; default: all that have dead letters')
  const drop = new Command('drop')
    .description('Give letters up: they are closed and never sent. Later events of their foreignId are sent again.')
    .argument('<config>', 'the file that the routes are run with')
    .argument('<route>', 'the name of the route')
    .argument('<id...>', 'ids of the events, as list prints them')
  dlq.addCommand(
    options(list).action(async (path: string, routes: string[], { json = false }: { readonly json?: boolean }) => {
      const { listLetters } = await import('./dlq/list-letters.ts')
      await listLetters(path, { routes, json })
    }),
  )
  dlq.addCommand(
    options(drop).action(
      async (path: string, route: string, ids: string[], { json = false }: { readonly json?: boolean }) => {
        const { dropLetters } = await import('./dlq/drop-letters.ts')
        await dropLetters(path, { route, ids, json })
      },
    ),
  )
  return dlq
}

const HELP = `
Works while the route runs, in this process or another; safe to repeat. While a letter is open, later events of its foreignId become
letters as well, so that they are not sent before it: give up the oldest of a foreignId first.

With --json: route, eventId, reason, attempts, at and event, which is as reflex-bridge tail --json prints it; drop adds dropped, which
is false if there was no open letter.

There is no command that sends a letter after all: it would stand in the destination behind events that follow it in the source, and
the destinations tell by the order of their newest events what they have lost. Write a new event to the source instead, and drop the letter.

Exit codes: 0 done, 1 failed, 2 wrong input.`
