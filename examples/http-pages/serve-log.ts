import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { promisify } from 'node:util'

/** A log as the server gives it: the entry at index 0 has the id 1, and as many as `trimmed` says are gone. */
export interface ServedLog {
  epoch: number
  trimmed: number
  entries: object[]
}

/** The endpoint that is read, and what can happen to it. */
export interface LogServer extends AsyncDisposable {
  readonly url: string
  connections(): Promise<number>
  cut(): Promise<void>
  restart(): Promise<void>
  freeze(): Promise<() => void>
}

/** Serves `GET /events?after=ID&limit=N` on a free port. */
export async function serveLog(log: ServedLog): Promise<LogServer> {
  let frozen: Promise<void> | undefined
  const server = createServer((request, response) => {
    const { after = 0, limit } = Object.fromEntries(new URL(request.url ?? '', 'http://log').searchParams)
    const answer = (): void => {
      const { epoch, trimmed, entries } = log
      const from = Math.max(Number(after), trimmed)
      const events = entries.slice(from, from + Number(limit))
      response.end(JSON.stringify({ epoch: `${epoch}`, oldest: `${trimmed + 1}`, head: `${entries.length}`, events }))
    }
    if (frozen === undefined) answer()
    else void frozen.then(answer)
  })
  const listen = (port: number): Promise<void> => new Promise((done) => server.listen(port, '127.0.0.1', done))
  const cut = async (): Promise<void> => server.closeAllConnections()
  const stop = async (): Promise<void> => {
    await Promise.all([server[Symbol.asyncDispose](), cut()])
  }
  await listen(0)
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    connections: promisify(server.getConnections.bind(server)),
    cut,
    restart: async () => {
      await stop()
      await listen(port)
    },
    freeze: async () => {
      const { promise, resolve } = Promise.withResolvers<void>()
      frozen = promise
      return () => {
        frozen = undefined
        resolve()
      }
    },
    [Symbol.asyncDispose]: stop,
  }
}
