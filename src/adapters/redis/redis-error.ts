import { type ErrorKind, messageOf, ReflexError } from '../../core/errors.ts'

/** What to do about an error reply, by its first word, and of what kind it is. What is not here is worth another try. */
const replies: Readonly<Record<string, readonly [advice: string, kind: ErrorKind]>> = {
  OOM: [
    'the server has reached maxmemory: raise it or free memory. Keep maxmemory-policy noeviction, others delete logs and checkpoints',
    'quota',
  ],
  READONLY: ['the server is a replica: connect to the primary', 'read-only'],
  MISCONF: ['the server cannot write its data to disk: read its log, and free space', 'read-only'],
  NOREPLICAS: ['fewer replicas are connected than min-replicas-to-write asks for', 'retriable'],
  LOADING: ['the server is reading its data after a start: wait', 'retriable'],
  BUSY: ['the server runs a long script of someone: wait, or end it with SCRIPT KILL', 'retriable'],
  NOAUTH: ['give the client a username and password', 'auth'],
  WRONGPASS: ['the username or password is wrong', 'auth'],
  DENIED: ['the server is in protected mode: give it a password, or a user, and the client as well', 'auth'],
  WRONGTYPE: ['the key holds something else: choose another key', 'fatal'],
  MOVED: ['the key is on another node of this cluster: connect to that one', 'fatal'],
  ASK: ['the key is being moved to another node of this cluster: wait, then connect to that one', 'retriable'],
  CLUSTERDOWN: ['not all slots of the cluster are served: wait, or repair it', 'retriable'],
  VERSION: ['older ones do not count the entries of a stream', 'fatal'],
  CROSSSLOT: ['keys that are used together must be in one slot of a cluster: give the stream key a hash tag', 'fatal'],
}

/**
 * An error of the client or the server as a `ReflexError` with the code `REDIS_<first word of the reply>`, or `REDIS_CONNECTION`.
 * `scripted` are the commands of the script that failed.
 */
export function redisError(log: string, error: unknown, scripted: readonly string[] = []): ReflexError {
  if (error instanceof ReflexError) return error
  const message = messageOf(error)
  const command = withoutArguments(error)
  // Inside of a script a missing permission is told in words.
  const word = /ACL failure in script|The user executing the script can't/.test(message)
    ? 'NOPERM'
    : /^([A-Z]{2,})\b/.exec(message)?.[1]
  if (word === undefined) {
    return new ReflexError(
      'REDIS_CONNECTION',
      `${log}: no connection to the server, or no answer in time: ${message}`,
      {
        cause: error,
      },
    )
  }
  const [advice, kind] = reply(word, message) ?? [grant(message, command, scripted), 'auth']
  return new ReflexError(
    `REDIS_${word}`,
    `${log}: the server refused: ${message}${advice === '' ? '' : ` (${advice})`}`,
    { cause: error, kind },
  )
}

/** Undefined of a permission that is missing. */
function reply(word: string, message: string): readonly [advice: string, kind: ErrorKind] | undefined {
  if (word === 'NOPERM') return undefined
  if (message.includes('max number of clients')) return ['raise maxclients, or find out who connects so often', 'quota']
  if (/^ERR .*\bAUTH\b/.test(message)) return ['the server has no such user or password: correct it', 'auth']
  return replies[word] ?? ['', 'retriable']
}

/** The client hangs the command on its error, with all that was to be written, or the password. Returns the command's name. */
function withoutArguments(error: unknown): string {
  const command: unknown = (error as { command?: unknown } | undefined)?.command
  if (typeof command !== 'object' || command === null) return ''
  const { name } = command as { name?: unknown }
  Object.assign(error as object, { command: { name } })
  return String(name).toLowerCase()
}

/** Which permission is missing, as the command that grants it. */
function grant(message: string, command: string, scripted: readonly string[]): string {
  const [, user = '<user>'] = /\bUser (\S+) has no permissions/.exec(message) ?? []
  const [, denied = command] = /permissions to run the '([^']+)'/.exec(message) ?? []
  if (/\bkeys?\b/i.test(message) && !message.includes('to run'))
    return `the user may not use the key with ${command}: ACL SETUSER ${user} ~<key>, and for a sink ~reflex:{<key>}:*`
  if (/^eval(?:sha)?$/.test(denied) && !message.includes('to run'))
    return `a command of the script is not permitted: ACL SETUSER ${[user, ...scripted.map((name) => `+${name}`)].join(' ')}`
  return `the user may not use ${denied}: ACL SETUSER ${user} +${denied}`
}
