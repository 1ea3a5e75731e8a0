import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { inject } from 'vitest'

const TOOLS = 'org.apache.kafka.tools'
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** Names of headers are printed as text, whatever the machine's locale is. */
const ENVIRONMENT = { ...process.env, JDK_JAVA_OPTIONS: '-Dstdout.encoding=UTF-8 -Dfile.encoding=UTF-8' }

function command(tool: string): [string, string[]] {
  const [java, ...prefix] = inject('servers').kafka.cli[tool] ?? []
  if (java === undefined) throw new Error(`${tool} is not among the tools of test/servers.setup.ts; add it there`)
  return [java, prefix]
}

async function run(tool: string, args: readonly string[], input = ''): Promise<string> {
  const [java, prefix] = command(tool)
  const child = spawn(java, [...prefix, '--bootstrap-server', inject('servers').kafka.url, ...args], {
    env: ENVIRONMENT,
  })
  child.stdin.on('error', () => {}) // it may end before it has read everything: its exit code tells
  child.stdin.end(input)
  const [output, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  if (code !== 0) throw new Error(`${tool} ended with ${code}: ${output}${errors}`)
  return output
}

/** Creates a topic with Kafka's own command. `config` holds topic settings such as `cleanup.policy`. */
export async function createTopic(
  topic: string,
  { partitions = 1, config = {} }: { partitions?: number; config?: Readonly<Record<string, string>> } = {},
): Promise<void> {
  const settings = Object.entries(config).flatMap(([name, value]) => ['--config', `${name}=${value}`])
  await run(`${TOOLS}.TopicCommand`, ['--create', '--topic', topic, '--partitions', String(partitions), ...settings])
}

/** Options of `consoleProducer`: what a line holds in front of the value. */
export interface ConsoleProducerOptions {
  /** The line holds a key and this behind it. Default: lines have no key. */
  readonly keySeparator?: string
  /** The line begins with headers, as in `name:value,name:value` and a tab. Default false. */
  readonly headers?: boolean
  /** A key, header or value that is this text is null. Default: nothing is null. */
  readonly nullMarker?: string
  /** Arguments of its own, such as `--compression-codec`, `gzip`. Default: none. */
  readonly args?: readonly string[]
}

/** Kafka's console producer: sends each line as one record. Resolves when all are acknowledged. */
export async function consoleProducer(
  topic: string,
  lines: readonly string[],
  { keySeparator, headers = false, nullMarker, args = [] }: ConsoleProducerOptions = {},
): Promise<void> {
  const properties: Record<string, string> = {}
  if (headers) properties['parse.headers'] = 'true'
  if (keySeparator !== undefined) Object.assign(properties, { 'parse.key': 'true', 'key.separator': keySeparator })
  if (nullMarker !== undefined) properties['null.marker'] = nullMarker
  const input = lines.map((line) => `${line}\n`).join('')
  await run(
    `${TOOLS}.ConsoleProducer`,
    ['--topic', topic, '--sync', ...pairs('--reader-property', properties), ...args],
    input,
  )
}

/** A record as Kafka's console consumer saw it. */
export interface ConsoleRecord {
  readonly partition: number
  readonly offset: string
  /** Epoch ms. */
  readonly timestamp: number
  readonly key: Buffer | null
  /** In the record's order. */
  readonly headers: readonly (readonly [name: string, value: Buffer | null])[]
  readonly value: Buffer | null
}

/** Options of `consoleConsumer`. */
export interface ConsoleConsumerOptions {
  /** It ends once it has seen so many records. */
  readonly count: number
  /** Default `read_committed`. */
  readonly isolation?: 'read_committed' | 'read_uncommitted'
  /** One partition only. Default: all. */
  readonly partition?: number
  /** Where it begins in `partition`. Default: the earliest there is. */
  readonly offset?: string
  /** With no record for so long it gives up, in ms. Default 20,000. */
  readonly timeoutMs?: number
}

const FIELD = '\u001f'
const NULL = '\u0001null\u0001'
const BYTES = 'org.apache.kafka.common.serialization.BytesDeserializer' // prints \xHH for all but visible ASCII
const FORMAT = {
  'print.timestamp': 'true',
  'print.partition': 'true',
  'print.offset': 'true',
  'print.headers': 'true',
  'print.key': 'true',
  'key.separator': FIELD,
  'headers.separator': '\u001e',
  'null.literal': NULL,
  'key.deserializer': BYTES,
  'value.deserializer': BYTES,
  'headers.deserializer': BYTES,
}

/**
 * The first `count` records that Kafka's console consumer sees from the beginning, or from `offset`. A colon in the name of a
 * header cannot be told from the end of the name. Throws with what it saw if there are fewer.
 */
export async function consoleConsumer(topic: string, options: ConsoleConsumerOptions): Promise<ConsoleRecord[]> {
  const { count, isolation = 'read_committed', partition, offset = 'earliest', timeoutMs = 20_000 } = options
  const from = partition === undefined ? ['--from-beginning'] : ['--partition', String(partition), '--offset', offset]
  const output = await run(`${TOOLS}.consumer.ConsoleConsumer`, [
    ...['--topic', topic, ...from, '--isolation-level', isolation],
    ...['--max-messages', String(count), '--timeout-ms', String(timeoutMs)],
    ...pairs('--formatter-property', FORMAT),
  ])
  const records = output.split('\n').filter(Boolean).map(decodeRecord)
  if (records.length === count) return records
  throw new Error(`the console consumer was to see ${count} records of ${topic}, but saw ${records.length}:\n${output}`)
}

function pairs(option: string, properties: Readonly<Record<string, string>>): string[] {
  return Object.entries(properties).flatMap(([name, value]) => [option, `${name}=${value}`])
}

function decodeRecord(line: string): ConsoleRecord {
  const [time = '', partition = '', offset = '', headers = '', key = '', value = ''] = line.split(FIELD)
  const after = (label: string): string => label.slice(label.indexOf(':') + 1)
  return {
    partition: Number(after(partition)),
    offset: after(offset),
    timestamp: Number(after(time)),
    key: decodeBytes(key),
    headers:
      headers === 'NO_HEADERS'
        ? []
        : headers.split('\u001e').map((header) => {
            const colon = header.indexOf(':')
            return [header.slice(0, colon), decodeBytes(header.slice(colon + 1))] as const
          }),
    value: decodeBytes(value),
  }
}

function decodeBytes(printed: string): Buffer | null {
  const raw = printed.replace(/\\x([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return raw === NULL ? null : Buffer.from(raw, 'latin1')
}

/** A record for `TransactionalProducers.send`. Text is UTF-8. */
export interface NewRecord {
  readonly topic: string
  /** Default 0. */
  readonly partition?: number
  /** Default null. */
  readonly key?: string | Uint8Array | null
  readonly value: string | Uint8Array | null
  /** Default: none. */
  readonly headers?: readonly (readonly [name: string, value: string | Uint8Array | null])[]
  /** Epoch ms. Default: now. */
  readonly timestamp?: number
}

/**
 * Java's transactional producers, one for each transactional id, in one process. Each step resolves when what it writes
 * stands in the log, the markers that end a transaction too, and rejects with the producer's error; so the order in the log
 * is the order of the calls.
 */
export interface TransactionalProducers extends AsyncDisposable {
  begin(id: string): Promise<void>
  /** Resolves with the record's offset. */
  send(id: string, record: NewRecord): Promise<string>
  commit(id: string): Promise<void>
  abort(id: string): Promise<void>
}

interface Answer {
  readonly offset?: number
  readonly error?: string
}

/**
 * Starts them. Disposing kills the process: a transaction that is open then stays open until the broker aborts it after
 * `transactionTimeoutMs`, which is 60,000 by default.
 *
 * @example
 * await using producers = transactionalProducers()
 * await producers.begin('a')
 * await producers.send('a', { topic, value: 'one' })
 * await producers.abort('a')
 */
export function transactionalProducers({
  transactionTimeoutMs = 60_000,
}: {
  readonly transactionTimeoutMs?: number
} = {}): TransactionalProducers {
  const [java, prefix] = command('test/kafka/TransactionalProducers.java')
  const child = spawn(java, [...prefix, inject('servers').kafka.url, String(transactionTimeoutMs)], { cwd: ROOT })
  const exited = once(child, 'exit')
  const errors = text(child.stderr)
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  child.stdin.on('error', () => {}) // it has ended: the missing answer tells
  let last = Promise.resolve<unknown>(undefined)

  const ask = async (request: object): Promise<Answer> => {
    child.stdin.write(`${JSON.stringify(request)}\n`)
    const { done, value } = await answers.next()
    if (done) throw new Error(`the Java producers ended by themselves: ${await errors}`)
    const answer = JSON.parse(value) as Answer
    if (answer.error !== undefined) throw new Error(answer.error)
    return answer
  }
  const step = (request: object): Promise<Answer> => {
    const answer = last.then(() => ask(request))
    last = answer.catch(() => {})
    return answer
  }
  return {
    begin: async (id) => void (await step({ id, act: 'begin' })),
    commit: async (id) => void (await step({ id, act: 'commit' })),
    abort: async (id) => void (await step({ id, act: 'abort' })),
    send: async (id, { topic, partition = 0, key = null, value, headers = [], timestamp }) => {
      const encoded = { key: base64(key), value: base64(value), headers: headers.map(([n, v]) => [n, base64(v)]) }
      return String((await step({ id, act: 'send', topic, partition, timestamp, ...encoded })).offset)
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

function base64(part: string | Uint8Array | null): string | null {
  return part === null ? null : Buffer.from(part as string).toString('base64')
}
