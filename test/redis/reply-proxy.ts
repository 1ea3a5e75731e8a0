import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Address } from '../../src/testing/servers/index.ts'

/** A way to a server on which a test decides about every piece that comes back, and how fast pieces go there. */
export interface ReplyProxy extends AsyncDisposable {
  readonly url: string
  /** Of all connections, so far. */
  readonly replies: number
}

/** What becomes of the reply with this number, from 0 on. `twice`: it comes again when the next command has been sent. */
export type OnReply = (number: number) => 'pass' | 'drop' | 'twice'

/** Starts one. `delayMs` passes before each piece goes on, in either direction. */
export async function replyProxy(
  target: Address,
  { onReply = () => 'pass', delayMs = 0 }: { onReply?: OnReply; delayMs?: number },
): Promise<ReplyProxy> {
  const sockets = new Set<Socket>()
  let replies = 0
  const listener = createServer({ noDelay: true }, (client) => {
    const server = connect({ host: target.host, port: target.port, noDelay: true })
    let again: Buffer | undefined
    const pass = (from: Socket, to: Socket, passes: (piece: Buffer) => boolean): void => {
      let sending = Promise.resolve()
      sockets.add(from)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
      from.on('data', (piece) => {
        if (!passes(piece)) return
        sending = sending.then(async () => {
          if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs))
          if (!to.destroyed) to.write(piece)
        })
      })
    }
    pass(client, server, () => {
      if (again !== undefined) client.write(again)
      again = undefined
      return true
    })
    pass(server, client, (piece) => {
      const what = onReply(replies++)
      if (what === 'twice') again = piece
      return what !== 'drop'
    })
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return {
    url: `redis://127.0.0.1:${(listener.address() as AddressInfo).port}`,
    get replies() {
      return replies
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      const closed = once(listener, 'close')
      listener.close()
      await closed
    },
  }
}
