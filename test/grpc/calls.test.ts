import { setImmediate as immediate } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { grpcSource, serveStream } from '../../src/adapters/grpc/index.ts'
import type { Batch } from '../../src/core/event.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { eventStream, type StreamFunc } from '../../src/core/stream.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { numbered } from './numbered.ts'
import { connect, serve } from './serve.ts'

/** Streams of an idle log, and how many of them are open. */
function idleStreams() {
  const log = memoryLog()
  const count = { opened: 0, open: 0 }
  const stream: StreamFunc = async (after, options) => {
    const inner = await log.source.stream(after, options)
    count.opened++
    count.open++
    return Object.assign(Object.create(inner) as typeof inner, {
      [Symbol.asyncDispose]: async () => {
        count.open--
        await inner[Symbol.asyncDispose]()
      },
    })
  }
  return { stream, count }
}

it('a stream is closed at the server, however early its client aborts', async () => {
  const { stream, count } = idleStreams()
  await using server = await serve([serveStream(stream)])
  using client = connect(server.port)
  const source = grpcSource({ client })
  await (await source.stream('', {}))[Symbol.asyncDispose]()
  for (let turns = 0; turns < 120; turns++) {
    const controller = new AbortController()
    const opening = source.stream('', { signal: controller.signal }).then(
      (opened) => opened[Symbol.asyncDispose](),
      () => {},
    )
    for (let i = 0; i < turns % 3; i++) await immediate()
    for (let i = 0; i < turns / 3; i++) await Promise.resolve()
    controller.abort()
    await opening
  }
  expect(count.opened).toBeGreaterThan(1)
  await expect.poll(() => count.open, { timeout: 3000 }).toBe(0)
})

it('streams of a client that is frozen end at the server, be they idle or full', async () => {
  const { stream: idle, count } = idleStreams()
  const endless: StreamFunc = async () => {
    count.open++
    async function* batches(): AsyncGenerator<Batch> {
      for (let at = 0; ; at += 100) yield { events: numbered(at, 100), cursor: String(at + 100) }
    }
    return eventStream(batches(), () => void count.open--)
  }
  await using server = await serve([serveStream(idle), serveStream(endless, { path: '/shop.Shop/Endless' })])
  await using proxy = await tcpProxy({ host: '127.0.0.1', port: server.port })
  using client = connect(proxy.port)
  await using one = await grpcSource({ client }).stream('', {})
  await using other = await grpcSource({ client, path: '/shop.Shop/Endless' }).stream('', {})
  await other[Symbol.asyncIterator]().next()
  expect(one).toBeDefined()
  expect(count.open).toBe(2)
  proxy.stall()
  await expect.poll(() => count.open, { timeout: 8000 }).toBe(0)
})
