import { Client, credentials, Server, ServerCredentials } from '@grpc/grpc-js'
import { type CursorStore, type Event, memoryCursors, memoryLog, run, type StreamFunc } from 'reflex-bridge'
import {
  grpcCursors,
  grpcFailFast,
  grpcServerKeepalive,
  grpcSource,
  serveCursors,
  serveStream,
} from 'reflex-bridge/grpc'

/** A service that has events, and keeps cursors for others. */
async function shop() {
  const log = memoryLog({ name: 'orders' }) // mysqlEvents(pool), in a shop
  const cursors = memoryCursors() // mysqlCursors(pool)
  const server = new Server({ ...grpcServerKeepalive })
  const orders = serveStream(log.source.stream, { path: '/shop.Orders/StreamOrders' })
  const kept = serveCursors(cursors)
  server.addService(orders.service, orders.handlers)
  server.addService(kept.service, kept.handlers)
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    )
  })
  return {
    log,
    cursors,
    address: `127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      await orders.stop()
      server.forceShutdown()
    },
  }
}

/** The three ways to put a stream and its cursors in two processes. Resolves with what each consumer handled. */
export async function compositions(): Promise<Record<string, string[]>> {
  await using service = await shop()
  service.log.append({ type: 1, foreignId: 'order-1' }, { type: 1, foreignId: 'order-2' })
  const client = new Client(service.address, credentials.createInsecure(), { ...grpcFailFast })
  using _ = { [Symbol.dispose]: () => client.close() }
  const remote = {
    stream: grpcSource({ client, path: '/shop.Orders/StreamOrders' }).stream,
    cursors: grpcCursors({ client }),
  }
  const handled: Record<string, string[]> = {}

  const consume = async (name: string, stream: StreamFunc, cursors: CursorStore): Promise<void> => {
    handled[name] ??= []
    const consumer = { name, handle: ({ foreignId }: Event) => void handled[name]?.push(foreignId) }
    await run({ stream, cursors, consumer }, { toHead: true })
  }
  const everyone = async (own: CursorStore): Promise<void> => {
    // The usual one: a service consumes the events of another, and keeps its cursors where it keeps what it makes of them.
    await consume('local cursors, remote stream', remote.stream, own)
    // A worker without a database beside the log, whose cursors a service keeps.
    await consume('remote cursors, local stream', service.log.source.stream, remote.cursors)
    // A worker without anything.
    await consume('remote cursors, remote stream', remote.stream, remote.cursors)
  }
  const own = memoryCursors()
  await everyone(own)
  service.log.append({ type: 1, foreignId: 'order-3' })
  await everyone(own) // each goes on where it was
  return handled
}

if (process.argv[1] === import.meta.filename) console.log(await compositions())
