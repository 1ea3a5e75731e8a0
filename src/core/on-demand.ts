import { untilAborted } from './abort.ts'

/** A connection that is made when it is needed and closed when it is not, for what has no lifetime of its own. */
export interface OnDemand<Connection> {
  /** Hands a live connection to `work`; a connection that has died is replaced, what was sent over it is not sent again. */
  use<T>(work: (connection: Connection) => Promise<T>, signal?: AbortSignal): Promise<T>
}

/** So soon after the last use it is closed (rule 6 allows 1 s). */
const IDLE_MS = 500

/** Makes a connection on demand, by `connect`; `closed` of a connection settles when it has died. */
export function onDemand<Connection extends AsyncDisposable & { readonly closed: Promise<unknown> }>(
  connect: (signal: AbortSignal) => Promise<Connection>,
): OnDemand<Connection> {
  let current: Promise<Connection> | undefined
  let unwanted = new AbortController()
  let users = 0
  let idle: NodeJS.Timeout | undefined

  function connection(): Promise<Connection> {
    if (current !== undefined) return current
    unwanted = new AbortController()
    const made = connect(unwanted.signal)
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
        return await untilAborted(connection().then(work), signal)
      } finally {
        users--
        if (users === 0) idle = setTimeout(() => void close().catch(() => {}), IDLE_MS) // if it failed to open, its user was told
      }
    },
  }
}
