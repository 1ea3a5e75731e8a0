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
  NOPERM: ["the user's ACL does not permit it: grant the command and the key", false],
  NOAUTH: ['give the client a username and password', false],
  WRONGPASS: ['the username or password is wrong', false],
  WRONGTYPE: ['the key holds something else: choose another key', false],
  MOVED: ['the key is on another node of this cluster: connect to that one', false],
  VERSION: ['older ones do not count the entries of a stream', false],
  CROSSSLOT: ['keys that are used together must be in one slot of a cluster: give the stream key a hash tag', false],
}

/** An error of the client or the server as a `ReflexError` with the code `REDIS_<first word of the reply>`, or `REDIS_CONNECTION`. */
export function redisError(log: string, error: unknown): ReflexError {
  if (error instanceof ReflexError) return error
  const message = messageOf(error)
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
  const [advice, retriable] = replies[word] ?? ['', true]
  return new ReflexError(
    `REDIS_${word}`,
    `${log}: the server refused: ${message}${advice === '' ? '' : ` (${advice})`}`,
    { cause: error, retriable },
  )
}
