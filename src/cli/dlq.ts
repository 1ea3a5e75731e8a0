import { Command } from 'commander'

/** `reflex-bridge dlq`: looks into the dead letters of routes, tries them again, and gives them up. */
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
  const retry = new Command('retry')
    .description(
      'Write the events of open letters to the source of the route anew, behind all others, and close the letters, in one transaction.',
    )
    .argument('<config>', 'the file that the routes are run with')
    .argument('<route>', 'the name of the route')
    .argument('[id...]', 'ids of the events, as list prints them; default: all open letters')
  dlq.addCommand(
    options(list).action(async (path: string, routes: string[], { json = false }: { readonly json?: boolean }) => {
      const { listLetters } = await import('./dlq/list-letters.ts')
      await listLetters(path, { routes, json })
    }),
  )
  dlq.addCommand(
    options(retry).action(
      async (path: string, route: string, ids: string[], { json = false }: { readonly json?: boolean }) => {
        const { retryLetters } = await import('./dlq/retry-letters.ts')
        process.exitCode = await retryLetters(path, { route, ids, json })
      },
    ),
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
letters as well, so that they are not sent before it: retry or give up the oldest of a foreignId first.

retry is for when what was wrong is mended. Each event stands in the source once more, with a new id and the time of now, and goes the way
of every new event; where the table has headers, reflex-retried-id and reflex-retried-timestamp say of which. Letters that wait for the
one that is named are retried with it, in order. The source must be a table of MySQL, MariaDB or SQLite with the letters in the same
server, or file. Ctrl-C ends it between two foreignIds.

With --json: route, eventId, reason, attempts, at and event, which is as reflex-bridge tail --json prints it; drop adds dropped, which
is false if there was no open letter. Of retry: route, eventId, foreignId, retried, and newId, or code and error.

Exit codes: 0 done, 1 failed or an open letter was not retried, 2 wrong input, 130 stopped. An id without an open letter is no failure: retried is
false, without a code.`
