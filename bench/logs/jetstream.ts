import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { jetstreamFailFast, jetstreamSink, jetstreamSource } from 'reflex-bridge/jetstream'
import type { LogKind } from '../log-kind.ts'

/** Streams, each with a subject for each type of event. */
export const jetstreamLogs: LogKind = {
  server: 'nats',
  title: 'JetStream',
  plural: 'streams',
  hasSink: true,
  bareName: 'bare ordered consumer (@nats-io/jetstream)',
  open: async (url, via) => {
    const connection = await connect({ servers: url })
    const manager = await jetstreamManager(connection)
    const client = jetstream(connection)
    const servers = via === undefined ? url : `${via.host}:${via.port}`
    const connectOnce = () => connect({ servers, ...jetstreamFailFast })
    const streams = (name: string, count = 1): string[] => Array.from({ length: count }, (_, i) => `${name}-${i}`)
    return {
      create: async (name, count) => {
        for (const stream of streams(name, count))
          await manager.streams.add({ name: stream, subjects: [`${stream}.>`], allow_atomic: true })
      },
      remove: async (name, count) => {
        for (const stream of streams(name, count)) await manager.streams.delete(stream)
      },
      source: (name, i = 0) => jetstreamSource({ connect: connectOnce, stream: `${name}-${i}` }),
      sink: (name) => jetstreamSink({ connect: connectOnce, stream: `${name}-0`, subject: `${name}-0` }),
      write: async (name, i = 0) => {
        await client.publish(`${name}-${i}.1`, 'x')
      },
      bareRead: async (name) => {
        const own = await connectOnce()
        const consumer = await jetstream(own).consumers.get(`${name}-0`)
        const messages = await consumer.consume()
        for await (const _ of messages) break
        await consumer.delete()
        await own.close()
      },
      [Symbol.asyncDispose]: () => connection.close(),
    }
  },
}
