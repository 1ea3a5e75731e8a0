import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js'
import { grpcFailFast, grpcServerKeepalive } from '../../src/adapters/grpc/index.ts'

/** What a server has been given to serve. */
interface Served {
  readonly service: ServiceDefinition
  readonly handlers: UntypedServiceImplementation
}

/** A server on 127.0.0.1, and how it is met. */
export interface Serving extends AsyncDisposable {
  readonly port: number
  /** The calls that are open end as they do when a process is killed. */
  kill(): void
  /** As it stops when it is asked to. */
  shutDown(): Promise<void>
}

/** Starts a server with what is to be served; port 0 is a free one. */
export async function serve(
  served: readonly Served[],
  {
    port = 0,
    credentials = ServerCredentials.createInsecure(),
  }: { port?: number; credentials?: ServerCredentials } = {},
): Promise<Serving> {
  const server = new Server({ ...grpcServerKeepalive })
  for (const { service, handlers } of served) server.addService(service, handlers)
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, credentials, (error, port) =>
      error === null ? resolve(port) : reject(error),
    )
  })
  return {
    port: bound,
    kill: () => server.forceShutdown(),
    shutDown: () =>
      new Promise((resolve, reject) => server.tryShutdown((error) => (error ? reject(error) : resolve()))),
    [Symbol.asyncDispose]: async () => server.forceShutdown(),
  }
}

/** A client of a server on 127.0.0.1, closed when it is disposed of. */
export function connect(port: number): Client & Disposable {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { ...grpcFailFast })
  return Object.assign(client, { [Symbol.dispose]: () => client.close() })
}
