import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { create, toBinary } from '@bufbuild/protobuf'
import { Client, credentials, Metadata, ServerCredentials, type ServerWritableStream, status } from '@grpc/grpc-js'
import { describe, expect, it } from 'vitest'
import { decodeMessage } from '../../src/adapters/grpc/decode-message.ts'
import { encodeEvent } from '../../src/adapters/grpc/encode-event.ts'
import { StreamRequestSchema } from '../../src/adapters/grpc/generated/reflex_pb.ts'
import { grpcCursors, grpcFailFast, grpcSource, serveCursors, serveStream } from '../../src/adapters/grpc/index.ts'
import { streamMethod } from '../../src/adapters/grpc/stream-method.ts'
import type { Batch, Event, NewEvent } from '../../src/core/event.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { run } from '../../src/core/run.ts'
import { type EventStream, eventStream, type StreamFunc } from '../../src/core/stream.ts'
import { supervise } from '../../src/core/supervise.ts'
import { testCertificate } from '../tools/test-certificate.ts'
import { numbered } from './numbered.ts'
import { connect, serve } from './serve.ts'

const asIs = (bytes: Buffer): Buffer => bytes
const REFLEX = '/reflexpb.Reflex/Stream'

/** A call as a Go client makes it. */
function callPlainly(
  client: Client,
  after: string,
  options: { fromHead?: boolean; toHead?: boolean; lag?: { seconds: bigint; nanos: number } } = {},
) {
  const request = Buffer.from(toBinary(StreamRequestSchema, create(StreamRequestSchema, { after, options })))
  const call = client.makeServerStreamRequest(REFLEX, asIs, asIs, request, new Metadata())
  call.on('error', () => {})
  return call
}

async function all(stream: EventStream): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of stream) batches.push(batch)
  return batches
}

describe('serveStream', () => {
  it('stops reading its source when the client does not read', async () => {
    let given = 0
    const endless: StreamFunc = async (_, { signal }) =>
      eventStream(
        (async function* () {
          for (; ; given += 100) yield { events: numbered(given, 100), cursor: String(given + 100) }
        })(),
        () => {},
        { signal },
      )
    await using server = await serve([serveStream(endless)])
    using client = connect(server.port)
    await using ours = await grpcSource({ client }).stream('', {})
    const settled = async (): Promise<number> => {
      for (let before = 0; before !== given || given === 0; await pause(200)) before = given
      return given
    }
    // 200 bytes each: what may be on its way is the client's next batch, 256 KiB, what grpc-js holds on both sides, and HTTP/2's window.
    expect(await settled()).toBeLessThan(5000)
    await ours[Symbol.asyncDispose]()
    given = 0
    const call = callPlainly(client, '')
    call.once('data', () => call.pause())
    expect(await settled()).toBeLessThan(2000)
    expect(given).toBeGreaterThan(50)
    call.cancel()
  })

  it('ends with STREAM_STOPPED, and clients that are supervised resume without loss or duplicate', async () => {
    const log = memoryLog({ batchSize: 7 })
    const handled: string[] = []
    const cursors = memoryCursors()
    let served = serveStream(log.source.stream)
    let server = await serve([served])
    const { port } = server
    using client = connect(port)
    const errors: unknown[] = []
    const done = new AbortController()
    const consumer = {
      name: 'c',
      handle: ({ id }: Event) => {
        handled.push(id)
        if (handled.length === 300) done.abort()
      },
    }
    const observer = {
      restarting: ({ error }: { error: unknown }) => void errors.push((error as { code: string }).code),
    }
    const running = supervise((o) => run({ stream: grpcSource({ client }).stream, cursors, consumer }, o), {
      signal: done.signal,
      minDelayMs: 10,
      maxDelayMs: 20,
      observer,
    })
    for (let round = 0; round < 3; round++) {
      log.append(...Array.from({ length: 100 }, (): NewEvent => ({ type: 1, foreignId: 'a' })))
      while (handled.length < round * 100 + 30) await pause(1)
      if (round === 2) break
      await served.stop()
      await server.shutDown()
      served = serveStream(log.source.stream)
      server = await serve([served], { port })
    }
    await running
    expect(handled).toEqual(Array.from({ length: 300 }, (_, i) => String(i + 1)))
    expect(errors).toContain('STREAM_STOPPED')
    await server[Symbol.asyncDispose]()
  })

  it('holds back what is not as old as the client asks for', async () => {
    const log = memoryLog()
    const asked: number[] = []
    const clock = { now: () => 10_000, yield: async () => {}, sleep: async (ms: number) => void asked.push(ms) }
    log.append(
      { type: 1, foreignId: 'a', timestamp: 8000 },
      { type: 1, foreignId: 'a', timestamp: 9500 },
      { type: 1, foreignId: 'a', timestamp: 99_000 },
    )
    await using server = await serve([serveStream(log.source.stream, { clock })])
    using client = connect(server.port)
    const call = callPlainly(client, '', { toHead: true, lag: { seconds: 1n, nanos: 500_000_000 } })
    let count = 0
    call.on('data', (message: Buffer) => {
      count += decodeMessage(message).events.length
    })
    await new Promise((resolve) => call.on('status', resolve))
    expect(count).toBe(3)
    expect(asked).toEqual([1000, 1500])
  })

  it('starts from the head for a Go client that gives a cursor as well', async () => {
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a' })
    await using server = await serve([serveStream(log.source.stream)])
    using client = connect(server.port)
    const call = callPlainly(client, 'anything', { fromHead: true })
    const next = new Promise<Buffer>((resolve) => call.on('data', resolve))
    while (call.listenerCount('data') === 0) await pause(1)
    await pause(50) // it says nothing when it is open
    log.append({ type: 1, foreignId: 'b' })
    expect(decodeMessage(await next).events[0]).toMatchObject({ id: '2', foreignId: 'b' })
    call.cancel()
  })

  it('refuses what is no request, and what is no StreamFunc', async () => {
    await using server = await serve([serveStream(memoryLog().source.stream)])
    using client = connect(server.port)
    const call = client.makeServerStreamRequest(REFLEX, asIs, asIs, Buffer.from([0xff]), new Metadata())
    const error = new Promise((resolve) => call.on('error', resolve))
    call.resume()
    expect(await error).toMatchObject({ code: status.INVALID_ARGUMENT })
    expect(() => serveStream(memoryLog().source as never)).toThrow(/source\.stream/)
  })
})

describe.each(['reflex-bridge', 'luno/reflex'] as const)('an event that cannot be sent to a client of %s', (server) => {
  it.each([
    ['EVENT_UNENCODABLE', { timestamp: 1e18 }],
    ['GRPC_MESSAGE_TOO_LARGE', { metadata: new Uint8Array(5_000_000) }],
  ])('holds up none of those that stand before it: %s', async (code, wrong) => {
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a' }, { type: 1, foreignId: 'b' }, { type: 1, foreignId: 'c', ...wrong })
    await using serving = await serve([serveStream(log.source.stream)])
    using client = connect(serving.port)
    const handled: string[] = []
    const consumer = { name: 'c', handle: ({ id }: Event) => void handled.push(id) }
    const spec = { stream: grpcSource({ client, server }).stream, cursors: memoryCursors(), consumer }
    await expect(run(spec)).rejects.toMatchObject({ code })
    expect(handled).toEqual(['1', '2'])
  })
})

describe('grpcSource', () => {
  it('gets an event that a message has room for, whatever stands beside it', async () => {
    const log = memoryLog()
    const metadata = [5000, 4 * 1024 * 1024 - 500, 5000].map((size) => new Uint8Array(size))
    log.append(...metadata.map((metadata) => ({ type: 1, foreignId: 'a', metadata })))
    await using server = await serve([serveStream(log.source.stream)])
    using client = connect(server.port)
    const batches = await all(await grpcSource({ client }).stream('', { toHead: true }))
    expect(batches.flatMap(({ events }) => events.map(({ id }) => id))).toEqual(['1', '2', '3'])
  })

  it('reads a method of any service, beside others', async () => {
    const [orders, users] = [memoryLog({ name: 'orders' }), memoryLog({ name: 'users' })]
    orders.append({ type: 1, foreignId: 'order' })
    users.append({ type: 1, foreignId: 'user' })
    const paths = ['/shop.Shop/StreamOrders', '/shop.Shop/StreamUsers'] as const
    await using server = await serve([
      serveStream(orders.source.stream, { path: paths[0] }),
      serveStream(users.source.stream, { path: paths[1] }),
    ])
    using client = connect(server.port)
    for (const [i, path] of paths.entries()) {
      const source = grpcSource({ client, path })
      expect(source.name).toBe(`grpc:${path}`)
      for await (const { events } of await source.stream('', { toHead: true }))
        expect(events[0]?.foreignId).toBe(['order', 'user'][i])
    }
    await expect(grpcSource({ client, path: '/shop.Shop/None' }).stream('', {})).rejects.toMatchObject({
      code: 'GRPC_UNIMPLEMENTED',
      retriable: false,
    })
  })

  it('has the position move over what is filtered, null and empty told apart, and every header', async () => {
    const log = memoryLog()
    const headers = { a: ['1', '2'], traceparent: 'x', __proto__: '' }
    log.append(
      { type: 1, foreignId: 'a', metadata: null, headers },
      { type: 1, foreignId: 'b', metadata: new Uint8Array(0) },
      { type: 2, foreignId: 'c' },
    )
    await using server = await serve([serveStream(log.source.stream)])
    using client = connect(server.port)
    const batches = await all(await grpcSource({ client }).stream('', { toHead: true, types: [1] }))
    expect(batches.at(-1)?.cursor).toBe('3')
    expect(batches.flatMap(({ events }) => events)).toMatchObject([
      { metadata: null, headers },
      { metadata: new Uint8Array(0) },
    ])
  })

  it('sorts out types itself where the server is of luno/reflex, and refuses fromHead there', async () => {
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a' }, { type: 2, foreignId: 'b' })
    await using server = await serve([
      serveStream((after, { types: _, ...options }) => log.source.stream(after, options)),
    ])
    using client = connect(server.port)
    const source = grpcSource({ client, server: 'luno/reflex' })
    const batches = await all(await source.stream('', { toHead: true, types: [1] }))
    expect(batches.at(-1)?.cursor).toBe('2')
    expect(batches.flatMap(({ events }) => events.map(({ id }) => id))).toEqual(['1'])
    await expect(source.stream('', { fromHead: true })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  })

  it.each(['reflex-bridge', 'luno/reflex'] as const)(
    'reads up to the head of a server of %s, however slowly',
    async (server) => {
      const all: StreamFunc = async (after) =>
        eventStream(
          (async function* () {
            for (let at = Number(after); at < 20_000; at += 20) {
              const events = numbered(at, Math.min(20, 20_000 - at))
              yield { events, cursor: String(at + events.length) }
            }
          })(),
          () => {},
        )
      await using serving = await serve([serveStream(all)])
      using client = connect(serving.port)
      const ids: string[] = []
      for await (const { events } of await grpcSource({ client, server }).stream('', { toHead: true })) {
        ids.push(...events.map(({ id }) => id))
        await pause(20) // what the server says last is here before this client has read what it said before
      }
      expect(ids).toEqual(Array.from({ length: 20_000 }, (_, i) => String(i + 1)))
    },
  )

  it('says that a server of luno/reflex has to be named', async () => {
    const method = streamMethod(REFLEX)
    const stream = (call: ServerWritableStream<Buffer, Buffer>): void => void call.write(Buffer.from('320131', 'hex'))
    await using server = await serve([{ service: { stream: method }, handlers: { stream } }])
    using client = connect(server.port)
    await expect(grpcSource({ client }).stream('', {})).rejects.toThrow("server: 'luno/reflex'")
  })

  it('ends at its deadline with an error that is worth another try', async () => {
    await using server = await serve([serveStream(memoryLog().source.stream)])
    using client = connect(server.port)
    await using stream = await grpcSource({ client, deadlineMs: 200 }).stream('', {})
    await expect(stream[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: 'GRPC_DEADLINE_EXCEEDED',
      retriable: true,
    })
  })

  it('fails where nobody listens, and at an event that is larger than a message may be', async () => {
    const log = memoryLog()
    const server = await serve([serveStream(log.source.stream)])
    using client = connect(server.port)
    log.append({ type: 1, foreignId: 'a', metadata: new Uint8Array(5_000_000) })
    const consumer = { name: 'c', handle: () => {} }
    const spec = { stream: grpcSource({ client }).stream, cursors: memoryCursors(), consumer }
    await expect(run(spec)).rejects.toMatchObject({ code: 'GRPC_MESSAGE_TOO_LARGE', kind: 'oversize' })
    server.kill()
    // The deadline is the end of a wait for a connection too, where a machine under load comes to it first.
    const code = expect.stringMatching(/^GRPC_(UNAVAILABLE|DEADLINE_EXCEEDED)$/)
    const { stream } = grpcSource({ client, deadlineMs: 300 })
    await expect(run({ ...spec, stream })).rejects.toMatchObject({ retriable: true })
    await expect(run({ ...spec, stream })).rejects.toMatchObject({ code, retriable: true })
  })

  it('refuses a client that tries again by itself or would not notice a dead server, a path that is none, and other mistakes', () => {
    const made = (options: object): Client => new Client('127.0.0.1:1', credentials.createInsecure(), options)
    const { 'grpc.keepalive_time_ms': _, ...deaf } = grpcFailFast
    for (const [options, named] of [
      [{}, 'grpc.enable_retries'],
      [{ ...grpcFailFast, 'grpc.enable_retries': 1 }, 'grpc.enable_retries'],
      [deaf, 'grpc.keepalive_time_ms'],
    ] as const) {
      const client = made(options)
      expect(() => grpcSource({ client })).toThrow(named)
      expect(() => grpcCursors({ client })).toThrow(named)
      client.close()
    }
    const client = made(grpcFailFast)
    for (const wrong of [{ path: 'Stream' }, { server: 'go' }, { deadlineMs: 0 }, { client: {} }]) {
      expect(() => grpcSource({ client, ...wrong } as never)).toThrow(
        expect.objectContaining({ code: 'OPTION_INVALID' }),
      )
    }
    client.close()
  })

  it('gives what came before an event that cannot be read, and says of a client that was closed that no other attempt helps', async () => {
    const method = streamMethod(REFLEX)
    const stream = (call: ServerWritableStream<Buffer, Buffer>): void => {
      call.write(encodeEvent(numbered(0, 1)[0] as Event))
      call.write(Buffer.from('not an event'))
    }
    await using server = await serve([{ service: { stream: method }, handlers: { stream } }])
    using client = connect(server.port)
    const source = grpcSource({ client, server: 'luno/reflex' })
    const handled: string[] = []
    const consumer = { name: 'c', handle: ({ id }: Event) => void handled.push(id) }
    const spec = { stream: source.stream, cursors: memoryCursors(), consumer }
    await expect(run(spec)).rejects.toMatchObject({ code: 'EVENT_UNDECODABLE', cause: { position: '1' } })
    expect(handled).toEqual(['1'])
    client.close()
    await expect(run(spec)).rejects.toMatchObject({ code: 'GRPC_CLIENT_CLOSED', retriable: false })
    await expect(grpcCursors({ client }).get('c')).rejects.toMatchObject({ code: 'GRPC_CLIENT_CLOSED' })
  })
})

it('TLS and call credentials go with every call', async () => {
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' })
  const seen: string[] = []
  const served = [serveStream(log.source.stream), serveCursors(memoryCursors())].map(({ service, handlers }) => ({
    service,
    handlers: Object.fromEntries(
      Object.entries(handlers).map(([name, handler]) => [
        name,
        (call: { metadata: Metadata }, ...rest: []) => {
          seen.push(String(call.metadata.get('authorization')))
          ;(handler as (...all: unknown[]) => void)(call, ...rest)
        },
      ]),
    ),
  }))
  const pair = {
    cert_chain: readFileSync(testCertificate.certificateFile),
    private_key: readFileSync(testCertificate.keyFile),
  }
  await using server = await serve(served as never, { credentials: ServerCredentials.createSsl(null, [pair]) })
  const client = new Client(`localhost:${server.port}`, credentials.createSsl(Buffer.from(testCertificate.authority)), {
    ...grpcFailFast,
  })
  const bearer = credentials.createFromMetadataGenerator((_, callback) => {
    const metadata = new Metadata()
    metadata.set('authorization', 'Bearer 1')
    callback(null, metadata)
  })
  const spec = {
    stream: grpcSource({ client, credentials: bearer }).stream,
    cursors: grpcCursors({ client, credentials: bearer }),
    consumer: { name: 'c', handle: () => {} },
  }
  expect(await run(spec, { toHead: true })).toMatchObject({ reason: 'head', cursor: '1@1' })
  client.close()
  expect(new Set(seen)).toEqual(new Set(['Bearer 1']))
})

describe('grpcCursors', () => {
  it('tells over the wire whether a reset or another runner wrote what is there', async () => {
    const store = memoryCursors()
    await using server = await serve([serveCursors(store)])
    using client = connect(server.port)
    const cursors = grpcCursors({ client })
    await cursors.set('c', '5', '')
    await cursors.reset('c', '2')
    const conflict = { code: 'CURSOR_CONFLICT', consumer: 'c', expected: '5', retriable: true }
    await expect(cursors.set('c', '6', '5')).rejects.toMatchObject({ ...conflict, actual: '2', reset: true })
    await expect(cursors.set('c', '6', '5')).rejects.toMatchObject({ reset: true })
    await cursors.set('c', '3', '2')
    const fenced = { ...conflict, actual: '3', reset: false, kind: 'fenced' }
    await expect(cursors.set('c', '6', '5')).rejects.toMatchObject(fenced)
  })

  it('a runner whose cursor is reset over the wire starts again from there', async () => {
    const log = memoryLog({ batchSize: 1 })
    log.append(...Array.from({ length: 5 }, (): NewEvent => ({ type: 1, foreignId: 'a' })))
    await using server = await serve([serveCursors(memoryCursors())])
    using client = connect(server.port)
    const cursors = grpcCursors({ client })
    const handled: string[] = []
    const handle = async ({ id }: Event): Promise<void> => {
      if (handled.push(id) === 4) await cursors.reset('c', '1@1')
    }
    const spec = { stream: log.source.stream, cursors, consumer: { name: 'c', handle } }
    await supervise((o) => run(spec, { ...o, toHead: true }), { minDelayMs: 1, maxDelayMs: 100_000 })
    expect(handled).toEqual(['1', '2', '3', '4', '2', '3', '4', '5'])
  }, 5000)

  it('refuses names that would be sent as another one, and a list that the store does not have', async () => {
    const { list: _, ...store } = memoryCursors()
    await using server = await serve([serveCursors(store)])
    using client = connect(server.port)
    const cursors = grpcCursors({ client })
    await expect(cursors.get('\ud800')).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    await expect(cursors.set('a', '\udc00', '')).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    await expect(cursors.list?.()).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    await store.set('b', 'x\ud800', '') // by somebody who uses the store itself
    await expect(cursors.get('b')).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    expect(() => grpcCursors({ client, deadlineMs: 0 })).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  })
})
