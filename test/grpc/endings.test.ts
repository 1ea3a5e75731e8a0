import { setTimeout as pause } from 'node:timers/promises'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { Metadata, type ServerWritableStream, status } from '@grpc/grpc-js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeEvent } from '../../src/adapters/grpc/encode-event.ts'
import { EventSchema, StreamRequestSchema } from '../../src/adapters/grpc/generated/reflex_pb.ts'
import { grpcSource, serveStream } from '../../src/adapters/grpc/index.ts'
import { streamMethod } from '../../src/adapters/grpc/stream-method.ts'
import { CursorTrimmedError, codeOf, ReflexError } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { run } from '../../src/core/run.ts'
import { eventStream, type Source, type StreamFunc } from '../../src/core/stream.ts'
import { supervise } from '../../src/core/supervise.ts'
import { numbered } from './numbered.ts'
import { connect, serve } from './serve.ts'

const kinds = ['reflex-bridge', 'luno/reflex'] as const

/** Events 1 to `count`, and then an error. */
function failing(count: number, size: number, error: () => Error): StreamFunc {
  return async (after) =>
    eventStream(
      (async function* () {
        for (let at = Number(after); at < count; ) {
          const events = numbered(at, Math.min(size, count - at))
          at += events.length
          yield { events, cursor: String(at) }
        }
        throw error()
      })(),
      () => {},
    )
}

const idsUpTo = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i + 1))

/** Reads to the end, so slowly as is said, and resolves with what came and with the code it ended with. */
async function readSlowly(source: Source, pauseMs: (batch: number) => number, toHead = false) {
  const ids: string[] = []
  let batches = 0
  let code: string | undefined
  try {
    for await (const { events } of await source.stream('', { toHead })) {
      ids.push(...events.map(({ id }) => id))
      const ms = pauseMs(batches++)
      if (ms > 0) await pause(ms)
    }
  } catch (error) {
    code = codeOf(error) ?? String(error)
  }
  return { ids, code }
}

/** A server whose handler is written by hand. */
async function byHand(handler: (call: ServerWritableStream<Buffer, Buffer>) => void) {
  return serve([{ service: { stream: streamMethod('/reflexpb.Reflex/Stream') }, handlers: { stream: handler } }])
}

const claimsBatches = (call: ServerWritableStream<Buffer, Buffer>): void => {
  const answer = new Metadata()
  answer.set('reflex-bridge', '1')
  call.sendMetadata(answer)
}
const message = (init: Parameters<typeof create<typeof EventSchema>>[1]): Buffer =>
  Buffer.from(toBinary(EventSchema, create(EventSchema, init)))
const nested = (id: string, bytes: number) =>
  create(EventSchema, { id, foreignId: 'a', timestamp: { seconds: 1n }, metadata: new Uint8Array(bytes) })

describe.each(kinds)('an error of a server of %s', (server) => {
  it.each([
    ['CURSOR_TRIMMED', () => new CursorTrimmedError('log', { cursor: '7' })],
    ['POISONED', () => new ReflexError('POISONED', 'never', { kind: 'poison' })],
  ])(
    'comes after all that was sent before it, however slow the client and large the backlog: %s',
    async (code, error) => {
      await using serving = await serve([serveStream(failing(20_000, 50, error))])
      using client = connect(serving.port)
      const read = await readSlowly(grpcSource({ client, server }), () => 20)
      expect(read.ids).toEqual(idsUpTo(20_000))
      // Without jettison's details of Go, the code of ours is what its clients see.
      expect(read.code).toBe(code)
    },
  )

  it('that is worth another try overtakes nothing for good', async () => {
    const error = (): Error => new ReflexError('LATER', 'try again')
    await using serving = await serve([serveStream(failing(20_000, 50, error))])
    using client = connect(serving.port)
    const handled: string[] = []
    const done = new AbortController()
    const consumer = {
      name: 'c',
      handle: async ({ id }: Event) => {
        handled.push(id)
        if (handled.length % 500 === 0) await pause(5)
        if (handled.length === 20_000) done.abort()
      },
    }
    const spec = { stream: grpcSource({ client, server }).stream, cursors: memoryCursors(), consumer }
    await supervise((o) => run(spec, o), { signal: done.signal, minDelayMs: 1, maxDelayMs: 2 })
    expect(handled).toEqual(idsUpTo(20_000))
  })
})

it('with batches, whatever ends a stream comes after all that was sent before it', async () => {
  let given = { count: 0, size: 1, code: '' }
  const stream: StreamFunc = (after, options) =>
    failing(given.count, given.size, () => new ReflexError(given.code, 'the end'))(after, options)
  await using serving = await serve([serveStream(stream)])
  using client = connect(serving.port)
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        count: fc.integer({ min: 0, max: 8000 }),
        size: fc.constantFrom(1, 7, 300),
        code: fc.constantFrom('STREAM_STOPPED', 'LATER', 'HEAD_REACHED'),
      }),
      fc.array(fc.integer({ min: 0, max: 15 }), { maxLength: 10 }),
      async (wanted, pauses) => {
        given = wanted
        const read = await readSlowly(grpcSource({ client }), (batch) => pauses[batch] ?? 0)
        expect(read).toEqual({ ids: idsUpTo(wanted.count), code: wanted.code })
      },
    ),
    { numRuns: 25, seed: 1 },
  )
})

it('what an error has overtaken is not taken from another log', async () => {
  for (const next of ['i', 'j']) {
    let calls = 0
    await using serving = await byHand((call) => {
      claimsBatches(call)
      call.write(message({ opened: { incarnation: calls++ === 0 ? 'i' : next } }))
      const from = Number(fromBinary(StreamRequestSchema, call.request).after)
      for (let id = from + 1; id <= 50; id++) call.write(message({ events: [nested(String(id), 20_000)] }))
      call.emit('error', { code: status.INVALID_ARGUMENT, details: 'no more' })
    })
    using client = connect(serving.port)
    const read = await readSlowly(grpcSource({ client }), () => 50)
    expect(calls).toBeGreaterThan(1)
    if (next === 'i') expect(read).toEqual({ ids: idsUpTo(50), code: 'GRPC_INVALID_ARGUMENT' })
    else expect(read.code).toBe('CURSOR_AHEAD')
  }
})

/** A handler as a Go server has it, whose 1,500 events and the words it ends with are at the client before it reads on. */
function goLike(ending: string) {
  return (call: ServerWritableStream<Buffer, Buffer>): void => {
    const from = Number(fromBinary(StreamRequestSchema, call.request).after)
    for (const event of numbered(from, 1500 - from)) call.write(encodeEvent({ ...event, metadata: null }))
    call.emit('error', { code: status.UNKNOWN, details: `recv error 2: ${ending}` })
  }
}

it.each([
  ['the event stream has reached the current head', true, undefined],
  ['the event stream has reached the current head', false, 'HEAD_REACHED'],
  ['invalid id, only int supported', false, 'CURSOR_INVALID'],
])('what "%s" of a Go server has overtaken is asked for again: toHead %s', async (ending, toHead, code) => {
  await using serving = await byHand(goLike(ending))
  using client = connect(serving.port)
  const read = await readSlowly(grpcSource({ client, server: 'luno/reflex' }), () => 100, toHead)
  expect(read).toEqual({ ids: idsUpTo(1500), code })
})

it.each([
  ['from the beginning', () => 0, 2],
  ['with the event of its cursor', (after: number) => after - 1, 2],
  ['at one place and another in turn', (_: number, call: number) => (call % 2) * 100 + 100, 4],
])(
  'a server that is asked again and begins %s is soon asked no more, and not heard again where that is seen at once',
  async (_, begins, most) => {
    let calls = 0
    await using serving = await byHand((call) => {
      const after = Number(fromBinary(StreamRequestSchema, call.request).after)
      const from = ++calls === 1 ? after : begins(after, calls)
      // Of one that is asked without bound the test sees the end all the same.
      const count = calls > 10 ? 0 : 1500
      for (const event of numbered(from, count)) call.write(encodeEvent({ ...event, metadata: null }))
      call.emit('error', {
        code: status.UNKNOWN,
        details: 'recv error 2: the event stream has reached the current head',
      })
    })
    using client = connect(serving.port)
    const source = grpcSource({ client, server: 'luno/reflex' })
    let read: Awaited<ReturnType<typeof readSlowly>> = { ids: [], code: undefined }
    // What is read so fast that nothing is overtaken comes to its end.
    for (let pauseMs = 40; read.code === undefined && pauseMs < 1000; pauseMs *= 2) {
      calls = 0
      read = await readSlowly(source, () => pauseMs, true)
    }
    expect(read.code).toBe('SOURCE_CONTRACT')
    expect(calls).toBeLessThanOrEqual(most)
    if (most === 2) expect(read.ids).toEqual(idsUpTo(read.ids.length))
  },
)

it('a stream that has ended is at its end for the server too: stopping does not wait for clients that do not read', async () => {
  for (const server of kinds) {
    const served = serveStream(failing(1_000_000, 100, () => new Error('unreachable')))
    await using serving = await serve([served])
    using client = connect(serving.port)
    await using stream = await grpcSource({ client, server }).stream('', {})
    const reader = stream[Symbol.asyncIterator]()
    await reader.next()
    await served.stop()
    expect(await Promise.race([served.stop(), pause(1000, 'waits')])).toBeUndefined()
  }
})

describe('an OK', () => {
  it.each([true, false])(
    'of a Go server is no head, since luno/reflex ends with an error always: toHead %s',
    async (toHead) => {
      await using serving = await byHand((call) => {
        for (const event of numbered(0, 3)) call.write(encodeEvent(event))
        call.end()
      })
      using client = connect(serving.port)
      const read = await readSlowly(grpcSource({ client, server: 'luno/reflex' }), () => 0, toHead)
      expect(read).toEqual({ ids: idsUpTo(3), code: 'STREAM_ENDED' })
    },
  )

  it('of a server that sends batches is the head only if it says so', async () => {
    let trailers: Metadata | undefined
    await using serving = await byHand((call) => {
      claimsBatches(call)
      call.write(message({ opened: {} }))
      call.write(message({ events: [nested('1', 1)], position: '1' }))
      call.end(trailers)
    })
    using client = connect(serving.port)
    const source = grpcSource({ client })
    for (const told of [undefined, '', 'x', '\u0000\u0000']) {
      trailers = told === undefined ? undefined : new Metadata()
      trailers?.set('reflex-bridge-end-bin', Buffer.from(told ?? ''))
      expect(await readSlowly(source, () => 0, true)).toEqual({ ids: ['1'], code: 'STREAM_ENDED' })
    }
  })
})

describe('the first message', () => {
  it('of a server that sends batches may be of any size', async () => {
    const incarnation = 'x'.repeat(300_000)
    await using serving = await byHand((call) => {
      claimsBatches(call)
      call.write(message({ opened: { incarnation } }))
      call.write(message({ events: [nested('1', 300_000)], position: '1' }))
      call.write(message({ events: [nested('2', 1)], position: '2' }))
    })
    using client = connect(serving.port)
    await using stream = await grpcSource({ client }).stream('', {})
    expect(stream.incarnation).toBe(incarnation)
    const ids: string[] = []
    for await (const { events } of stream) {
      ids.push(...events.map(({ id }) => id))
      if (ids.length === 2) break
    }
    expect(ids).toEqual(['1', '2'])
  }, 5000)

  it('may have events beside saying that the stream is open', async () => {
    await using serving = await byHand((call) => {
      claimsBatches(call)
      const isAgain = fromBinary(StreamRequestSchema, call.request).after === '2'
      call.write(
        message({ opened: { incarnation: 'i' }, ...(!isAgain && { events: [nested('1', 300_000)], position: '1' }) }),
      )
      if (!isAgain) call.write(message({ events: [nested('2', 1)], position: '2' }))
      call.emit('error', {
        code: status.UNKNOWN,
        details: 'recv error 2: the event stream has reached the current head',
      })
    })
    using client = connect(serving.port)
    expect(await readSlowly(grpcSource({ client }), () => 0, true)).toEqual({ ids: ['1', '2'], code: undefined })
  }, 5000)

  it('of a Go server that something on the way lets claim batches is refused, not dropped', async () => {
    await using serving = await byHand((call) => {
      claimsBatches(call)
      for (const event of numbered(0, 3)) call.write(encodeEvent(event))
    })
    using client = connect(serving.port)
    await expect(grpcSource({ client }).stream('', {})).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringContaining("server: 'luno/reflex'"),
    })
  })
})
