import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { onTestFinished } from '../tools/on-test-finished.ts'

/** What happens to the bytes of a connection. */
export interface FrameFaults {
  /** Every message that the server delivers comes twice. */
  readonly repeatMessages?: boolean
  /** So many bytes a second go to the server, at most. */
  readonly bytesPerSecond?: number
}

/** A proxy before a NATS server, which ends with the test; resolves with its URL. */
export async function frameProxy(
  { host, port }: { host: string; port: number },
  { repeatMessages = false, bytesPerSecond }: FrameFaults,
): Promise<string> {
  const sockets = new Set<Socket>()
  const listener = createServer((client) => {
    const server = connect({ host, port })
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(from)
      from.on('error', () => to.destroy()).on('close', () => to.destroy())
    }
    if (bytesPerSecond === undefined) client.pipe(server)
    else trickle(client, server, bytesPerSecond)
    if (repeatMessages) repeat(server, client)
    else server.pipe(client)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    listener.close()
  })
  return `nats://127.0.0.1:${(listener.address() as AddressInfo).port}`
}

function trickle(from: Socket, to: Socket, bytesPerSecond: number): void {
  const every = 20
  from.on('data', (chunk) => {
    from.pause()
    const size = Math.ceil((bytesPerSecond * every) / 1000)
    const send = (at: number): void => {
      to.write(chunk.subarray(at, at + size))
      setTimeout(() => (at + size < chunk.length ? send(at + size) : from.resume()), every)
    }
    send(0)
  })
}

function repeat(from: Socket, to: Socket): void {
  let buffer = Buffer.of()
  from.on('data', (chunk) => {
    buffer = Buffer.concat([buffer, chunk])
    for (;;) {
      const end = buffer.indexOf('\r\n')
      if (end < 0) return
      const line = buffer.subarray(0, end).toString()
      const isMessage = /^H?MSG /.test(line)
      const length = end + 2 + (isMessage ? Number(line.split(' ').at(-1)) + 2 : 0)
      if (buffer.length < length) return
      const frame = buffer.subarray(0, length)
      to.write(frame)
      if (isMessage) to.write(frame)
      buffer = buffer.subarray(length)
    }
  })
}
