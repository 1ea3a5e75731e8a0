import { Command } from 'commander'
import type { RouteActions } from '../service/control/route-actions.ts'
import { wholeNumber } from './whole-number.ts'

/** `reflex-bridge pause`, `resume` and `stop`: steer routes, whichever process runs them. */
export function steerCommand(action: keyof RouteActions): Command {
  return new Command(action)
    .description(descriptions[action])
    .argument('<config>', 'the file that the routes are run with')
    .argument('[route...]', 'names of routes; default: all of them')
    .option('--wait <ms>', 'wait for the process that has a route to obey, 0 not at all', wholeNumber, 5000)
    .option('--json', 'print one object a line')
    .addHelpText('after', HELP)
    .action(async (path: string, names: string[], options: { readonly wait: number; readonly json?: true }) => {
      const { steerRoutes } = await import('./steer/steer-routes.ts')
      await steerRoutes(action, path, { ...options, names })
    })
}

const descriptions: Readonly<Record<keyof RouteActions, string>> = {
  pause: 'Let routes forward nothing until they are resumed. They keep their position, and with standby their lease.',
  resume: 'Let routes that are paused or stopped go on where they stood.',
  stop: 'Let routes forward nothing until they are resumed, and give their leases back.',
}

const HELP = `
What is wanted is stored beside the checkpoints, with who wanted it and when. Every process that runs the route sees it within a
second, also one that is started later. What is under way is confirmed and saved first. Safe to repeat.

With --json: route, wanted, by, at, and obeyed: the process that has obeyed, and when; null where none has said so in time.

Exit codes: 0 stored, 1 failed, 2 wrong input.`
