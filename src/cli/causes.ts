import { Command, InvalidArgumentError } from 'commander'

/** `reflex-bridge causes`: prints which event caused which. */
export function causesCommand(): Command {
  return new Command('causes')
    .description(
      'Print which event caused which, of a range of events, as a graph for Graphviz (DOT) or in JSON. Nothing is changed there.',
    )
    .argument('<source>', 'what to read: a URL as for tail, or a configuration file, with --route')
    .option('--route <name>', 'the route of the configuration whose source to read (default: its only one)')
    .option('--after <cursor>', 'start after this position (default: the earliest event)')
    .option('--limit <n>', 'read no more than so many events', positive, 10_000)
    .option('--correlation <id>', 'only the events of this correlation, and what they name as their causes')
    .option('--json', 'print one JSON object')
    .addHelpText('after', HELP)
    .action(async (source: string, options: CausesCommandOptions) => {
      const { causesOf } = await import('./causes/causes-of.ts')
      await causesOf(source, options)
    })
}

interface CausesCommandOptions {
  readonly route?: string
  readonly after?: string
  readonly limit: number
  readonly correlation?: string
  readonly json?: true
}

function positive(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new InvalidArgumentError(`expected a whole number from 1 to 999999, found ${JSON.stringify(text)}`)
}

const HELP = `
Events that were published with a cause (reflex-bridge/pubsub) have it in the header cause-id, and what they have in common in
correlation-id. A cause is looked for among the ids of the log, or, of events that a bridge has forwarded, among those that they had
in their source. One that is not in the range is drawn dashed. Each correlation is a box of its own.

It reads up to what is the newest event now. How far it came is printed to stderr at the end.

Exit codes: 0 printed, also after Ctrl-C what was read by then; 1 the source failed; 2 wrong input.

Examples:
  $ reflex-bridge causes 'nats://127.0.0.1:4222?stream=SHOP' | dot -Tsvg > causes.svg
  $ reflex-bridge causes 'sqlite:shop.db?table=events' --after 1000 --limit 500 --json | jq .unknown
  $ reflex-bridge causes bridge.yaml --route orders --correlation order-7`
