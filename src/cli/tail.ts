import { Command, InvalidArgumentError } from 'commander'

/** `reflex-bridge tail`: prints the events of a source. */
export function tailCommand(): Command {
  return new Command('tail')
    .description(
      'Print the events of an event table or a stream, and go on with those that come. Nothing is changed there.',
    )
    .argument('<url>', 'what to read, see below')
    .option('--after <cursor>', 'start after this position (default: the earliest event)')
    .option('--from-head', 'start with what comes from now on')
    .option('--to-head', 'end at what is the newest event now')
    .option('--types <types>', 'only events of these types, for example 1,2', integers)
    .option('--limit <n>', 'end after so many events', positive)
    .option('--json', 'print one JSON object a line')
    .addHelpText('after', HELP)
    .action(async (url: string, options: TailCommandOptions) => {
      const { tailSource } = await import('./tail/tail-source.ts')
      await tailSource(url, options)
    })
}

interface TailCommandOptions {
  readonly after?: string
  readonly fromHead?: true
  readonly toHead?: true
  readonly types?: readonly number[]
  readonly limit?: number
  readonly json?: true
}

function integers(text: string): number[] {
  const numbers = text.split(',').map(Number)
  if (/^-?\d+(,-?\d+)*$/.test(text) && numbers.every((number) => number === (number | 0))) return numbers
  throw new InvalidArgumentError(
    `expected 32-bit integers with commas between them, like 1,2, found ${JSON.stringify(text)}`,
  )
}

function positive(text: string): number {
  if (/^[1-9]\d{0,14}$/.test(text)) return Number(text)
  throw new InvalidArgumentError(`expected a whole number from 1 on, found ${JSON.stringify(text)}`)
}

const HELP = `
URLs (quote them, a shell reads ? and & in its own way):
  sqlite:PATH?table=events                             an event table in a SQLite file
  mysql://user:password@host:3306/database?table=events  an event table in MySQL or MariaDB
  redis://user:password@host:6379/0?key=orders         a Redis stream; rediss:// is TLS
  kafka://user:password@host:9092?topic=orders&partition=0  a partition of a Kafka topic; &tls=true
  nats://user:password@host:4222?stream=ORDERS         a JetStream stream; tls:// is TLS
table is events where it is left out. / : @ ? # and % in a password are percent-encoded.

JSON objects have id, type, foreignId, timestamp, headers and metadata: a string, or null; where the bytes are not UTF-8,
metadata is base64 and metadataEncoding says so.

The position reached is printed to stderr at the end, to go on from with --after.

Examples:
  $ reflex-bridge tail 'sqlite:shop.db?table=events'
  $ reflex-bridge tail "mysql://app:$DB_PASSWORD@127.0.0.1/shop" --from-head --types 1,2
  $ reflex-bridge tail 'redis://127.0.0.1?key=orders' --after 1700000000000-0 --to-head --json | jq .foreignId`
