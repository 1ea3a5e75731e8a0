import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'
import type { Server, TcpProxy } from '../../src/testing/servers/index.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import type { SinkSubject } from '../../src/testing/sink/sink-subject.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'

/** What an adapter of this package puts under test, on one server: no runner is needed, so that tests and the soak share it. */
export interface AdapterSubjects extends AsyncDisposable {
  readonly sources: Readonly<Record<string, () => Promise<SourceSubject>>>
  readonly sinks: Readonly<Record<string, () => Promise<SinkSubject>>>
  readonly stores: Readonly<Record<string, () => Promise<CursorStoreSubject>>>
}

/** A server as subjects need it: where it is, and its process if faults are to be staged with it. */
export type SubjectServer = Pick<Server, 'host' | 'port' | 'url' | 'version'> & Partial<Pick<Server, 'process'>>

/** What can be done to a server that the tests have to themselves, and the way to it that can be cut. */
export interface ServerFaults extends AsyncDisposable {
  /** Where adapters connect to; what the test does itself goes to the server straight. */
  readonly host: string
  readonly port: number
  /** The members of a subject. */
  readonly faults: {
    restart(): Promise<void>
    freeze(): Promise<() => void>
    cut(): Promise<void>
    loseReplies(): Promise<() => void>
    /** Those of adapters alone. */
    connections(): Promise<number>
  }
}

/** Stages faults of a server whose process is ours. Undefined of a server that others use as well. */
export async function serverFaults(server: SubjectServer): Promise<ServerFaults | undefined> {
  const { process } = server
  if (process === undefined) return undefined
  const proxy: TcpProxy = await tcpProxy(server)
  return {
    host: proxy.host,
    port: proxy.port,
    faults: {
      restart: async () => {
        await process.kill()
        await process.start()
      },
      freeze: async () => {
        process.freeze()
        return () => process.thaw()
      },
      cut: async () => {
        proxy.cut()
        proxy.restore()
      },
      loseReplies: async () => {
        proxy.stallReplies()
        return () => proxy.restore()
      },
      connections: async () => proxy.connections,
    },
    [Symbol.asyncDispose]: () => proxy[Symbol.asyncDispose](),
  }
}

let count = 0

/** A name that nothing else uses, in this run or an earlier one. */
export function fresh(what: string): string {
  return `${what}-${process.pid}-${Date.now().toString(36)}-${count++}`
}
