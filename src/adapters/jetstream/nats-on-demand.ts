import { untilAborted } from '../../core/abort.ts'
import type { ConnectNats } from './nats-client.ts'
import { connectNats, type JetStreamConnection } from './nats-connection.ts'

/** A connection that is made when it is needed and closed when it is not, for what has no lifetime of its own. */
export interface NatsOnDemand {
  /** Hands a live connection to `work`; a connection that has died is replaced, what was sent over it is not sent again. */
  use<T>(work: (connection: JetStreamConnection) => Promise<T>, signal?: AbortSignal): Promise<T>
}

/** So soon after the last use it is closed (rule 6 allows 1 s). */
const IDLE_MS = 500

/** Makes a connection on demand; `log` names it in errors. */
export function natsOnDemand(connect: ConnectNats, { log }: { log: string }): NatsOnDemand {
  let current: Promise<JetStreamConnection> | undefined
  let unwanted = new AbortController()
  let users = 0
  let idle: NodeJS.Timeout | undefined

  function open(): Promise<JetStreamConnection> {
    if (current !== undefined) return current
    unwanted = new AbortController()
    const made = connectNats(connect, { log, signal: unwanted.signal })
    const forget = (): void => {
      if (current === made) current = undefined
    }
    made.then(({ closed }) => closed.then(forget), forget)
    current = made
    return made
  }
  async function close(): Promise<void> {
    const unused = current
    current = undefined
    unwanted.abort() // one that is still being made, of a server that does not answer
    await (await unused)?.[Symbol.asyncDispose]()
  }

  return {
    use: async (work, signal) => {
      signal?.throwIfAborted()
      users++
      clearTimeout(idle)
      try {
        return await untilAborted(open().then(work), signal)
      } finally {
        users--
        if (users === 0) idle = setTimeout(() => void close().catch(() => {}), IDLE_MS) // if it failed to open, its user was told
      }
    },
  }
}
