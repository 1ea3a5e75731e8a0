import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { Client, credentials, Metadata, Server, ServerCredentials, type ServerWritableStream } from '@grpc/grpc-js'
import { memoryCursors, memoryLog, run } from 'reflex-bridge'
import { grpcFailFast, grpcSource, serveStream } from 'reflex-bridge/grpc'
import {
  type Event,
  EventSchema,
  type StreamRequest,
  StreamRequestSchema,
} from '../../src/adapters/grpc/generated/reflex_pb.ts'
import { COUNT, sampleEvents } from '../events.ts'
import { compareEach, type Result, rate } from '../measure.ts'

const BARE = '/bench.Bare/Stream'
const bare = {
  path: BARE,
  requestStream: false,
  responseStream: true,
  requestSerialize: (message: StreamRequest) => Buffer.from(toBinary(StreamRequestSchema, message)),
  requestDeserialize: (bytes: Buffer) => fromBinary(StreamRequestSchema, bytes),
  responseSerialize: (message: Event) => Buffer.from(toBinary(EventSchema, message)),
  responseDeserialize: (bytes: Buffer) => fromBinary(EventSchema, bytes),
} as const

/** gRPC: server, source and run against a bare grpc-js stream of the same messages with the generated code, one for each event. */
export async function grpcCases(): Promise<Result[]> {
  const log = memoryLog()
  log.append(...sampleEvents())
  const messages = sampleEvents().map(({ type, foreignId, timestamp = 0, metadata }, i) =>
    create(EventSchema, {
      id: String(i + 1),
      type,
      foreignId,
      timestamp: { seconds: BigInt(Math.floor(timestamp / 1000)), nanos: (timestamp % 1000) * 1e6 },
      metadata: metadata as Uint8Array<ArrayBuffer>,
    }),
  )
  const server = new Server()
  const { service, handlers } = serveStream(log.source.stream)
  server.addService(service, handlers)
  server.addService(
    { stream: bare },
    {
      stream: (call: ServerWritableStream<StreamRequest, Event>) => void send(call, messages),
    },
  )
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    )
  })
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { ...grpcFailFast })
  using stack = new DisposableStack()
  stack.defer(() => server.forceShutdown())
  stack.defer(() => client.close())

  const ours = (kind: 'reflex-bridge' | 'luno/reflex'): Promise<number> =>
    rate(COUNT, () =>
      run(
        {
          stream: grpcSource({ client, server: kind }).stream,
          cursors: memoryCursors(),
          consumer: { name: 'bench', handle: () => {} },
        },
        { toHead: true },
      ),
    )
  const reference = (): Promise<number> =>
    rate(COUNT, async () => {
      const call = client.makeServerStreamRequest(
        BARE,
        bare.requestSerialize,
        bare.responseDeserialize,
        create(StreamRequestSchema),
        new Metadata(),
      )
      let count = 0
      await new Promise<void>((resolve, reject) => {
        call.on('data', () => count++)
        call.on('end', resolve)
        call.on('error', reject)
      })
      if (count !== COUNT) throw new Error(`expected ${COUNT} messages, but found ${count}`)
    })
  return await compareEach({
    cases: ['gRPC source + run', 'gRPC source + run, one event a message'],
    unit: 'events/s',
    referenceName: 'bare stream (grpc-js, protobuf-es)',
    ours: async () => [await ours('reflex-bridge'), await ours('luno/reflex')],
    reference: async () => {
      const figure = await reference()
      return [figure, figure]
    },
  })
}

async function send(call: ServerWritableStream<StreamRequest, Event>, messages: readonly Event[]): Promise<void> {
  for (const message of messages) if (!call.write(message)) await new Promise((resolve) => call.once('drain', resolve))
  call.end()
}
