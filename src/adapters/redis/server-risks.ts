import { codeOf, messageOf } from '../../core/errors.ts'
import type { RedisClient } from './redis-client.ts'
import { connectRedis, type RedisConnection } from './redis-connection.ts'

/** What a server's settings mean for what is written to it. */
export interface ServerAudit {
  /** How it can lose what it has acknowledged: what is set, and what that risks. */
  readonly risks: readonly string[]
  /** What could not be found out, and why. */
  readonly unknown: readonly string[]
  /** The most bytes of one argument of a command. Without permission to ask: the default, 512 MiB. */
  readonly argumentBytes: number
}

const SETTINGS = [
  'appendfsync',
  'save',
  'stop-writes-on-bgsave-error',
  'min-replicas-to-write',
  'proto-max-bulk-len',
  'client-query-buffer-limit',
]
const DEFAULT_ARGUMENT_BYTES = 512 * 1024 * 1024
/** Of the buffer of a client, an argument has all but this. */
const BESIDE_BYTES = 1024

/** Asks the server; changes nothing. What the user may not ask is unknown, which is no error. */
export async function auditServer({ call }: RedisConnection): Promise<ServerAudit> {
  const unknown: string[] = []
  const unlessRefused = async (asked: Promise<unknown>, what: string): Promise<unknown> => {
    try {
      return await asked
    } catch (error) {
      if (codeOf(error) !== 'REDIS_NOPERM' && !/unknown (?:sub)?command/.test(messageOf(error))) throw error
      unknown.push(`${what} cannot be looked at: ${messageOf(error)}`)
      return undefined
    }
  }
  const [info, settings] = await Promise.all([
    unlessRefused(call('INFO'), 'persistence, eviction and replication of the server'),
    unlessRefused(call('CONFIG', 'GET', ...SETTINGS), `the server's settings (${SETTINGS.join(', ')})`),
  ])
  const told = parseInfo(String(info ?? ''))
  const set = parseSettings((settings ?? []) as readonly string[])
  const bulk = Number(set['proto-max-bulk-len'] ?? DEFAULT_ARGUMENT_BYTES)
  const buffer = Number(set['client-query-buffer-limit'] ?? Number.POSITIVE_INFINITY) - BESIDE_BYTES
  return { risks: risksOf(told, set), unknown, argumentBytes: Math.min(bulk, buffer) }
}

/** `auditServer` on a connection of its own, for what is kept in Redis but no stream. */
export async function serverNotes(redis: RedisClient, log: string): Promise<readonly string[]> {
  await using connection = await connectRedis(redis, { log, name: 'reflex-audit' })
  const { risks, unknown } = await auditServer(connection)
  return [...risks, ...unknown]
}

type Texts = Readonly<Record<string, string | undefined>>

function risksOf(told: Texts, set: Texts): string[] {
  const risks: string[] = []
  if (told['aof_enabled'] === '0') {
    const unnoticed = set['stop-writes-on-bgsave-error'] === 'no' ? ' (one that fails stops no writer)' : ''
    risks.push(
      set['save'] === ''
        ? 'appendonly is no, and save is empty: everything that was acknowledged is lost when the server ends'
        : `appendonly is no: what was acknowledged since the last snapshot${unnoticed} is lost when the server crashes`,
    )
  } else if (set['appendfsync'] === 'everysec') {
    risks.push(
      'appendfsync is everysec: the last second of what was acknowledged can be lost in a crash; with always it cannot',
    )
  } else if (set['appendfsync'] === 'no') {
    risks.push(
      'appendfsync is no: what was acknowledged is lost in a crash of the machine until the system writes it, about 30 s',
    )
  }
  const policy = told['maxmemory_policy'] ?? ''
  if (told['maxmemory'] !== '0' && policy.startsWith('allkeys-'))
    risks.push(`maxmemory-policy is ${policy}: the server may delete the stream or its checkpoint; set noeviction`)
  if (told['role'] === 'slave') {
    risks.push(
      `the server is a replica of ${told['master_host']}:${told['master_port']}: it refuses to write, or forgets it; connect to the primary`,
    )
  }
  const replicas = Number(told['connected_slaves'] ?? 0)
  if (replicas > 0 && set['min-replicas-to-write'] === '0') {
    risks.push(
      `min-replicas-to-write is 0 with ${replicas} attached: what no replica has yet is lost when one takes over; set 1 or more`,
    )
  }
  return risks
}

function parseInfo(text: string): Texts {
  return Object.fromEntries(Array.from(text.matchAll(/^(\w+):(.*?)\r?$/gm), ([, name, value]) => [name, value]))
}

function parseSettings(pairs: readonly string[]): Texts {
  const settings: Record<string, string | undefined> = {}
  for (let i = 0; i < pairs.length; i += 2) settings[pairs[i] as string] = pairs[i + 1]
  return settings
}
