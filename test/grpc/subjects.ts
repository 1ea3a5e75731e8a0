import { setImmediate as immediate } from 'node:timers/promises'
import { connectivityState } from '@grpc/grpc-js'
import { encodeEvent } from '../../src/adapters/grpc/encode-event.ts'
import { grpcCursors, grpcSource, serveCursors, serveStream } from '../../src/adapters/grpc/index.ts'
import type { CursorStore } from '../../src/core/cursor.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import type { AdapterSubjects } from '../subjects/adapter-subjects.ts'
import { sqliteSubjects } from '../subjects/sqlite.ts'
import { countedStream } from './counted-stream.ts'
import { connect, type Serving, serve } from './serve.ts'

/** Logs and cursors of a server on 127.0.0.1, behind a proxy by which its way can fail. */
export async function grpcSubjects(): Promise<AdapterSubjects> {
  const sqlite = await sqliteSubjects()

  async function over(log: SourceSubject): Promise<SourceSubject> {
    const counted = countedStream(log.source.stream)
    const way = await wayTo(() => [serveStream(counted.stream)])
    const { connections: _, ...inner } = log
    return {
      ...inner,
      // The way to it is the same for both.
      ...(log.source.name === 'memory' && way.faults),
      source: grpcSource({ client: way.client }),
      append: async (events) => {
        for (const event of events) encodeEvent({ id: '1', timestamp: 0, metadata: null, headers: {}, ...event }) // what cannot be sent is refused here
        return log.append(events)
      },
      connections: async () => counted.open(),
      [Symbol.asyncDispose]: async () => {
        await way[Symbol.asyncDispose]()
        await log[Symbol.asyncDispose]?.()
      },
    }
  }

  async function overMemory(): Promise<SourceSubject> {
    const log = memoryLog({ batchSize: 3 })
    return over({
      source: log.source,
      append: async (events) => log.append(...events).map(({ id }) => id),
      trim: async (id) => log.trim(id),
      remove: async (id) => log.remove(id),
      recreate: async () => log.recreate(),
      rewind: async (id) => log.rewind(id),
      malformed: ['x', '-1', '1.5', '1 ', '9'.repeat(16), '@1', '\ud800'],
    })
  }

  async function store(): Promise<CursorStoreSubject> {
    const cursors: CursorStore = memoryCursors()
    const way = await wayTo(() => [serveCursors(cursors)])
    const other = connect(way.port)
    return {
      cursors: grpcCursors({ client: way.client }),
      another: () => grpcCursors({ client: other }),
      ...way.faults,
      [Symbol.asyncDispose]: async () => {
        other.close()
        await way[Symbol.asyncDispose]()
      },
    }
  }

  return {
    sources: {
      'grpcSource of memoryLog': overMemory,
      'grpcSource of sqliteEvents': async () =>
        over(await (sqlite.sources['sqliteEvents in memory'] as () => Promise<SourceSubject>)()),
    },
    sinks: {},
    stores: { grpcCursors: store },
    [Symbol.asyncDispose]: () => sqlite[Symbol.asyncDispose](),
  }
}

/** A server that can be killed and started again, a proxy to it, and a client by that way. */
async function wayTo(serving: () => Parameters<typeof serve>[0]) {
  let server: Serving = await serve(serving())
  const { port } = server
  const proxy = await tcpProxy({ host: '127.0.0.1', port })
  const client = connect(proxy.port)
  return {
    client,
    port: proxy.port,
    faults: {
      restart: async () => {
        server.kill()
        // A process takes longer to start than a client to see that its connection is gone.
        while (client.getChannel().getConnectivityState(false) === connectivityState.READY) await immediate()
        server = await serve(serving(), { port })
      },
      freeze: async () => {
        proxy.stall()
        return () => proxy.restore()
      },
      cut: async () => {
        proxy.cut()
        proxy.restore()
      },
    },
    [Symbol.asyncDispose]: async () => {
      client.close()
      server.kill()
      await proxy[Symbol.asyncDispose]()
    },
  }
}
