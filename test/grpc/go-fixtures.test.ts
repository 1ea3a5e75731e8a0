import { readFileSync } from 'node:fs'
import { Metadata, type ServerWritableStream, status } from '@grpc/grpc-js'
import { describe, expect, it } from 'vitest'
import { grpcSource, serveStream } from '../../src/adapters/grpc/index.ts'
import { streamMethod } from '../../src/adapters/grpc/stream-method.ts'
import type { Event } from '../../src/core/event.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { run } from '../../src/core/run.ts'
import { connect, serve } from './serve.ts'

interface Recorded {
  readonly server: Readonly<Record<string, Answer>>
  readonly client: readonly {
    readonly args: readonly string[]
    readonly request: string
    readonly printed: readonly Printed[]
  }[]
}
interface Answer {
  readonly messages: readonly string[]
  readonly code: status
  readonly details: string
  readonly statusDetails: string | null
}
type Printed = Readonly<Record<string, unknown>>

const recorded = JSON.parse(readFileSync(new URL('go-fixtures/recorded.json', import.meta.url), 'utf8')) as Readonly<
  Record<'interceptors' | 'plain', Recorded>
>

/** A server that answers with what Go has sent. */
async function playBack({ messages, code, details, statusDetails }: Answer) {
  const method = streamMethod('/reflexpb.Reflex/Stream')
  const stream = (call: ServerWritableStream<Buffer, Buffer>): void => {
    for (const message of messages) call.write(Buffer.from(message, 'base64'))
    const metadata = new Metadata()
    if (statusDetails !== null) metadata.set('grpc-status-details-bin', Buffer.from(statusDetails, 'base64'))
    call.emit('error', { code, details, metadata })
  }
  const server = await serve([{ service: { stream: method }, handlers: { stream } }])
  const client = connect(server.port)
  return {
    source: grpcSource({ client, server: 'luno/reflex' }),
    [Symbol.asyncDispose]: async () => {
      client.close()
      await server[Symbol.asyncDispose]()
    },
  }
}

const kinds = ['interceptors', 'plain'] as const

describe.each(kinds)('a Go server of luno/reflex (%s)', (kind) => {
  const answer = (scenario: string): Answer => recorded[kind].server[scenario] as Answer

  it('is read up to its head', async () => {
    await using server = await playBack(answer('the head is reached'))
    const events: Event[] = []
    const consumer = { name: 'all', handle: (event: Event) => void events.push(event) }
    const ended = await run({ stream: server.source.stream, cursors: memoryCursors(), consumer }, { toHead: true })
    expect(ended).toEqual({ reason: 'head', cursor: '9223372036854775807' })
    const rest = { metadata: null, headers: {} }
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    expect(events).toEqual([
      {
        id: '1',
        type: 1,
        foreignId: 'order-7',
        timestamp: 1_795_257_385_123.456,
        metadata: Buffer.from('{"total":12}'),
        headers: { traceparent },
      },
      { ...rest, id: '2', type: -3, foreignId: 'ключ 🪵', timestamp: -0.001 }, // Go's was empty, which its wire does not tell from none
      { ...rest, id: '3', type: 0, foreignId: '', timestamp: 0 },
      {
        ...rest,
        id: '4',
        type: 2 ** 31 - 1,
        foreignId: 'order-7',
        timestamp: 1_795_257_385_123.456,
        metadata: Buffer.from([0, 255, 128]),
      }, // Go's had ns
      { ...rest, id: '9223372036854775807', type: -(2 ** 31), foreignId: 'z', timestamp: 4_102_444_800_000.001 },
    ])
  })

  it.each([
    ['error: cancelled', 'GRPC_CANCELLED', true],
    ['error: deadline', 'GRPC_DEADLINE_EXCEEDED', true],
    ['error: stopped', 'STREAM_STOPPED', true],
    ['error: other', 'GRPC_UNKNOWN', true],
    ['error: code', 'GRPC_UNKNOWN', true],
    ['no integer', 'CURSOR_INVALID', false],
    ['stopped before', 'STREAM_STOPPED', true],
    ['stopped while it streams', 'STREAM_STOPPED', true],
    ['the head is reached', 'HEAD_REACHED', false], // although nobody asked for the head
  ])('that ends with "%s" is understood as %s', async (scenario, code, retriable) => {
    await using server = await playBack(answer(scenario))
    await using stream = await server.source.stream('no integer', {})
    let count = 0
    const reading = (async () => {
      for await (const { events } of stream) count += events.length
    })()
    await expect(reading).rejects.toMatchObject({ code, retriable })
    expect(count).toBe(answer(scenario).messages.length)
  })
})

describe.each(kinds)('a Go client of luno/reflex (%s)', (kind) => {
  it.each(recorded[kind].client.map((each) => [each.args.map((arg) => JSON.stringify(arg)).join(' '), each] as const))(
    'that asks %s is answered as it was when it printed what it saw',
    async (_, { args, request, printed }) => {
      const log = memoryLog()
      const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
      log.append(
        {
          type: 1,
          foreignId: 'order-7',
          timestamp: 1_795_257_385_123.456,
          metadata: Buffer.from('{"total":12}'),
          headers: { traceparent, other: 'x' },
        },
        { type: -3, foreignId: 'ключ 🪵', timestamp: -0.001, metadata: Buffer.alloc(0) },
        { type: 0, foreignId: '', timestamp: 0 },
      )
      const end = printed.at(-1) as Printed
      if (String(end['error']).includes('have been removed')) log.trim('3')
      const served = serveStream(log.source.stream)
      await using server = await serve([served])
      using client = connect(server.port)
      const asIs = (bytes: Buffer): Buffer => bytes
      const deadline = end['code'] === 'DeadlineExceeded' ? Date.now() + 100 : Number.POSITIVE_INFINITY
      const call = client.makeServerStreamRequest(
        '/reflexpb.Reflex/Stream',
        asIs,
        asIs,
        Buffer.from(request, 'base64'),
        new Metadata(),
        { deadline },
      )
      let count = 0
      call.on('data', () => count++)
      call.on('error', () => {})
      call.on('metadata', (metadata: Metadata) => expect(metadata.get('reflex-bridge')).toEqual([]))
      const ended = new Promise<{ code: status; details: string; metadata: Metadata }>((resolve) =>
        call.on('status', resolve),
      )
      if (end['stopped'] === true || String(end['error']).includes('stopped')) await served.stop()
      const { code, details, metadata } = await ended
      expect(count).toBe(printed.length - 1)
      expect(status[code]?.replaceAll('_', '').toLowerCase()).toBe(String(end['code']).toLowerCase())
      if (code === status.DEADLINE_EXCEEDED) return
      expect(String(end['error'])).toContain(details)
      const [trailer] = metadata.get('grpc-status-details-bin')
      // By this code Go knew it: it is read where jettison's interceptors are.
      for (const known of (end['codes'] ?? []) as string[]) expect(String(trailer)).toContain(known)
      expect(args).toEqual(expect.any(Array))
    },
  )

  it('knew the head and the stop where it has the interceptors, and printed every event', () => {
    const [all, , , , , , , , stopped] = recorded[kind].client
    expect(all?.printed.at(-1)?.['head']).toBe(kind === 'interceptors')
    expect(stopped?.printed.at(-1)?.['stopped']).toBe(kind === 'interceptors')
    expect(all?.printed.slice(0, -1)).toMatchObject([
      {
        id: '1',
        type: 1,
        foreignId: 'order-7',
        timestamp: '2026-11-21T10:36:25.123456Z',
        metadata: 'eyJ0b3RhbCI6MTJ9',
      },
      { id: '2', type: -3, foreignId: 'ключ 🪵', timestamp: '1969-12-31T23:59:59.999999Z', metadata: null },
      { id: '3', type: 0, foreignId: '', timestamp: '1970-01-01T00:00:00Z', metadata: null },
    ])
  })
})
