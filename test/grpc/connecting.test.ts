import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import { Client, credentials } from '@grpc/grpc-js'
import { afterAll, describe, expect, it } from 'vitest'
import { grpcCursors, grpcFailFast, grpcSource, serveCursors, serveStream } from '../../src/adapters/grpc/index.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { connect, serve } from './serve.ts'

/** A port on which nobody listens, for now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** Takes connections and says nothing. */
const silent = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
await once(silent, 'listening')
const silentPort = (silent.address() as { port: number }).port
afterAll(() => void silent.close())

const opened = async (client: Client, server: 'reflex-bridge' | 'luno/reflex', deadlineMs?: number): Promise<void> => {
  for await (const _ of await grpcSource({ client, server, deadlineMs }).stream('', { toHead: true }));
}
const what = {
  'a stream': (client: Client, deadlineMs?: number) => opened(client, 'reflex-bridge', deadlineMs),
  'a stream of luno/reflex': (client: Client, deadlineMs?: number) => opened(client, 'luno/reflex', deadlineMs),
  'a cursor': (client: Client, deadlineMs?: number) => grpcCursors({ client, deadlineMs }).set('c', '1', ''),
} as const

describe.each(Object.keys(what) as (keyof typeof what)[])('%s', (name) => {
  it('waits for its connection, through failed attempts, and then is asked for', async () => {
    const port = await freePort()
    using client = connect(port)
    const asked = what[name](client)
    asked.catch(() => {})
    await pause(400) // an attempt has failed, and the channel waits before the next one
    await using _ = await serve([serveStream(memoryLog().source.stream), serveCursors(memoryCursors())], { port })
    await asked
  })

  it('says whom it asked, what was tried and for how long, where nobody listens', async () => {
    const port = await freePort()
    using client = connect(port)
    const error = (await what[name](client, 300).catch((error: unknown) => error)) as Error
    expect(error).toMatchObject({ code: 'GRPC_UNAVAILABLE', retriable: true })
    expect(error.message).toMatch(
      new RegExp(`127\\.0\\.0\\.1:${port}, .* within \\d+ ms .*TRANSIENT_FAILURE.*ECONNREFUSED`),
    )
  })

  it('says so too where the attempt goes on', async () => {
    using client = connect(silentPort)
    const error = (await what[name](client, 300).catch((error: unknown) => error)) as Error
    expect(error).toMatchObject({ code: 'GRPC_UNAVAILABLE', retriable: true })
    expect(error.message).toMatch(new RegExp(`127\\.0\\.0\\.1:${silentPort}, .* within \\d+ ms .*CONNECTING`))
  })
})

it('what waits for a connection ends at once when it is aborted, and when the client is closed', async () => {
  const client = new Client(`127.0.0.1:${silentPort}`, credentials.createInsecure(), { ...grpcFailFast })
  const controller = new AbortController()
  const waiting = [
    grpcSource({ client }).stream('', { signal: controller.signal }),
    grpcCursors({ client }).get('c', { signal: controller.signal }),
  ]
  for (const each of waiting) each.catch(() => {})
  await pause(20)
  const reason = new Error('enough')
  const abortedAt = performance.now()
  controller.abort(reason)
  for (const each of waiting) await expect(each).rejects.toBe(reason)
  expect(performance.now() - abortedAt).toBeLessThan(50)
  const closed = grpcSource({ client }).stream('', {})
  closed.catch(() => {})
  await pause(20)
  client.close()
  await expect(closed).rejects.toMatchObject({ code: 'GRPC_CLIENT_CLOSED', retriable: false })
})

it('a stream is opened by a new connection where the last one has been lost unnoticed', async () => {
  const served = () => [serveStream(memoryLog().source.stream)]
  const server = await serve(served())
  using client = connect(server.port)
  const source = grpcSource({ client })
  await (await source.stream('', {}))[Symbol.asyncDispose]()
  server.kill()
  const opening = source.stream('', {})
  opening.catch(() => {})
  await using _ = await serve(served(), { port: server.port })
  await (await opening)[Symbol.asyncDispose]()
})

it('a call that fails says to whom it was made, and how long it took', async () => {
  const server = await serve([serveStream(memoryLog().source.stream)])
  using client = connect(server.port)
  await using stream = await grpcSource({ client }).stream('', {})
  const reading = stream[Symbol.asyncIterator]().next()
  reading.catch(() => {})
  server.kill()
  await expect(reading).rejects.toThrow(new RegExp(`call to .*127\\.0\\.0\\.1:${server.port} after \\d+ ms ended with`))
})

it('a stream of a server that was shut down by force meanwhile is asked for once more', async () => {
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' })
  const served = [serveStream(log.source.stream)]
  const first = await serve(served)
  using client = connect(first.port)
  const source = grpcSource({ client })
  const read = async (): Promise<number | undefined> => {
    await using stream = await source.stream('', {})
    for await (const { events } of stream) return events.length
    return undefined
  }
  expect(await read()).toBe(1)
  first.kill()
  const again = read()
  await using _ = await serve(served, { port: first.port })
  expect(await again).toBe(1)
})
