import { setTimeout as pause } from 'node:timers/promises'
import type { Client } from '@grpc/grpc-js'
import { expect, test } from 'vitest'
import { grpcCursors, grpcSource, serveCursors, serveStream } from '../../src/adapters/grpc/index.ts'
import type { CursorStore } from '../../src/core/cursor.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import type { Source } from '../../src/core/stream.ts'
import { type ServerProcess, tcpProxy } from '../../src/testing/servers/index.ts'
import { countedStream } from '../grpc/counted-stream.ts'
import { connect, type Serving, serve } from '../grpc/serve.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { moments } from './moments.ts'
import { playLifetime, type Stage } from './stage.ts'

/** A server and a client of its, which a play begins and ends with: what is left then is what a stream or a call has left. */
interface Way {
  readonly server: Serving
  readonly client: Client
  readonly source: Source
  readonly cursors: CursorStore
  stall(): void
  restore(): void
}

const SETTLED_MS = 100

const plays: Readonly<Record<string, (way: Way, stage: Stage<object>) => Promise<void>>> = {
  'streams that were closed: never read, in the middle, and at the head': async ({ source }, { close }) => {
    await close(await source.stream('', {}))
    const some = await source.stream('', {})
    await reader(some).batch()
    await close(some, some)
    const stream = await source.stream('', {})
    const reading = reader(stream)
    await reading.take(9)
    const pending = reading.rest()
    await pause(SETTLED_MS)
    await close(stream)
    await pending
  },
  'streams that ended by themselves, or were refused': async ({ source }) => {
    await reader(await source.stream('', { toHead: true })).rest()
    await errorOf(source.stream('x', {}))
  },
  'an abort before the open, at any moment of it, and of a read': async ({ source }, { caller }) => {
    for (const moment of moments) {
      const { signal, abort } = bound(caller())
      const opening = source.stream('', { signal }).then((stream) => reader(stream).rest())
      const ended = opening.catch(() => {})
      await moment()
      abort()
      await ended
      expect(await errorOf(source.stream('', { signal }))).toBe(signal.reason)
    }
  },
  'cursors that were read, stored, refused and aborted': async ({ cursors }, { caller }) => {
    await cursors.get('a', caller())
    await cursors.set('a', '1', '')
    await errorOf(cursors.set('a', '3', '2'))
    await cursors.reset('a', '2')
    for (const moment of moments) {
      const { signal, abort } = bound(caller())
      const reading = cursors.get('a', { signal }).catch(() => {})
      await moment()
      abort()
      await reading
    }
  },
  'a server that shuts down under a stream': async ({ source, server }) => {
    const failing = errorOf(reader(await source.stream('', {})).rest())
    await pause(SETTLED_MS)
    server.kill()
    await failing
  },
  'a way that is silent, noticed by a stream, a call, and an open that is aborted': async (way, { caller }) => {
    const { source, cursors, stall, restore } = way
    const failing = errorOf(reader(await source.stream('', {}), '', 6000).rest())
    await pause(SETTLED_MS)
    stall()
    const { signal, abort } = bound(caller())
    const others = [errorOf(cursors.get('a')), errorOf(source.stream('', { signal }))]
    await pause(SETTLED_MS)
    abort()
    await Promise.all([failing, ...others])
    restore()
  },
}

test.each(Object.keys(plays))('nothing is left of gRPC, on either side, after %s', async (title) => {
  const log = memoryLog({ batchSize: 3 })
  log.append(...numbered(9))
  const counted = countedStream(log.source.stream)
  const play = async (stage: Stage<object>): Promise<void> => {
    const server = await serve([serveStream(counted.stream), serveCursors(memoryCursors())])
    const proxy = await tcpProxy({ host: '127.0.0.1', port: server.port })
    const client = connect(proxy.port)
    const { stall, restore } = proxy
    try {
      const [source, cursors] = [grpcSource({ client }), grpcCursors({ client })]
      await plays[title]?.({ server, client, source, cursors, stall, restore }, stage)
    } finally {
      client.close()
      server.kill()
      await proxy[Symbol.asyncDispose]()
    }
  }
  await playLifetime({ connections: async () => counted.open() }, play, { server: {} as ServerProcess })
})

function bound(caller: AbortController): { signal: AbortSignal; abort: () => void } {
  return { signal: caller.signal, abort: () => caller.abort(new Error('no more')) }
}
