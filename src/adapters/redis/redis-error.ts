import { messageOf, ReflexError } from '../../core/errors.ts'

/** What to do about an error reply, by its first word, and whether waiting can help. */
const replies: Readonly<Record<string, readonly [advice: string, retriable: boolean]>> = {
  OOM: [
    'the server has reached maxmemory: raise it or free memory. Keep maxmemory-policy noeviction, others delete logs and checkpoints',
    true,
  ],
  READONLY: ['the server is a replica: connect to the primary', true],
  MISCONF: ['the server cannot write its data to disk: read its log, and free space', true],
  NOREPLICAS: ['fewer replicas are connected than min-replicas-to-write asks for', true],
  LOADING: ['the server is reading its data after a start: wait', true],
  BUSY: ['the server runs a long script of someone: wait, or end it with SCRIPT KILL', true],
  NOAUTH: ['give the client a username and password', false],
  WRONGPASS: ['the username or password is wrong', false],
  WRONGTYPE: ['the key holds something else: choose another key', false],
  MOVED: ['the key is on another node of this cluster: connect to that one', false],
  ASK: ['the key is being moved to another node of this cluster: wait, then connect to that one', true],
  CLUSTERDOWN: ['not all slots of the cluster are served: wait, or repair it', true],
  VERSION: ['older ones do not count the entries of a stream', false],
  CROSSSLOT: ['keys that are used together must be in one slot of a cluster: give the stream key a hash tag', false],
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
  const [advice, retriable] =
    word === 'NOPERM' ? [grant(message, command, scripted), false] : (replies[word] ?? ['', true])
  return new ReflexError(
    `REDIS_${word}`,
    `${log}: the server refused: ${message}${advice === '' ? '' : ` (${advice})`}`,
    { cause: error, retriable },
  )
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
