import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Address } from './server.ts'

/** A TCP proxy on a port of 127.0.0.1 that makes network faults. Disposing it resets every connection. */
export interface TcpProxy extends Address, AsyncDisposable {
  /** Connections that are open now. */
  readonly connections: number
  /** Resets every connection; new ones are reset as soon as they are made, until `restore`. The port is kept. */
  cut(): void
  /** Forwards nothing in either direction, neither bytes nor the end of a connection: half-open. What was sent meanwhile arrives after `restore`. */
  stall(): void
  /** Forwards requests and drops replies: their outcome stays unknown. `restore` resets the connections that lost bytes. */
  stallReplies(): void
  /** Forwards again. */
  restore(): void
}

type Mode = 'forward' | 'cut' | 'stall' | 'stall-replies'

interface Link {
  readonly client: Socket
  readonly server: Socket
  /** A reply was dropped, so that what follows would be out of step. */
  lost: boolean
}

/**
 * Starts a proxy to `target`, which may be down: then connections are reset.
 *
 * @example
 * await using proxy = await tcpProxy(redis)
 * proxy.stallReplies()
 */
export async function tcpProxy(target: Address): Promise<TcpProxy> {
  const links = new Set<Link>()
  let mode: Mode = 'forward'

  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    if (mode === 'cut') {
      client.on('error', () => {})
      reset(client)
      return
    }
    const server = connect({ host: target.host, port: target.port, allowHalfOpen: true, noDelay: true })
    const link: Link = { client, server, lost: false }
    links.add(link)
    forward(client, server, () => true)
    forward(server, client, () => {
      if (mode !== 'stall-replies') return true
      link.lost = true
      return false
    })
    const failed = () => {
      links.delete(link)
      reset(client)
      reset(server)
    }
    client.on('error', failed)
    server.on('error', failed)
    const closed = () => {
      if (client.destroyed && server.destroyed) links.delete(link)
    }
    client.on('close', closed)
    server.on('close', closed)
    if (mode === 'stall') pause(link)
  })

  function forward(from: Socket, to: Socket, passes: () => boolean): void {
    from.on('data', (chunk) => {
      if (!passes() || to.destroyed) return
      if (to.write(chunk)) return
      from.pause()
      to.once('drain', () => {
        if (mode !== 'stall') from.resume()
      })
    })
    from.on('end', () => {
      if (passes()) to.end()
    })
  }

  function pause(link: Link): void {
    link.client.pause()
    link.server.pause()
  }

  function resetAll(which: (link: Link) => boolean): void {
    for (const link of links) {
      if (!which(link)) continue
      links.delete(link)
      reset(link.client)
      reset(link.server)
    }
  }

  function change(next: Mode): void {
    mode = next
    resetAll((link) => next === 'cut' || (next !== 'stall-replies' && link.lost))
    for (const link of links) {
      if (next === 'stall') pause(link)
      else for (const socket of [link.client, link.server]) socket.resume()
    }
  }

  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  return {
    host: '127.0.0.1',
    port,
    get connections() {
      return links.size
    },
    cut: () => change('cut'),
    stall: () => change('stall'),
    stallReplies: () => change('stall-replies'),
    restore: () => change('forward'),
    [Symbol.asyncDispose]: async () => {
      if (!listener.listening) return
      const closed = once(listener, 'close')
      listener.close()
      mode = 'cut'
      resetAll(() => true)
      await closed
    },
  }
}

/**
 * Sends an RST at once, or a FIN where it has been sent already. `Socket.resetAndDestroy` would end the socket first, and wait for
 * what is still to be written: for ever, if the other side reads nothing. And if an error comes while it waits, Node fails to
 * reset the handle, keeps it, and spins when the process exits.
 */
function reset(socket: Socket): void {
  const isEnding = socket.writableEnded && !socket.writableFinished
  if (!isEnding && !socket.connecting && !socket.destroyed) Object.assign(socket, { resetAndClosing: true })
  socket.destroy()
}
