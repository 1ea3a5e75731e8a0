import {
  type ConnectNats,
  jetstreamCursors,
  jetstreamPublisher,
  jetstreamSink,
  jetstreamSource,
  jetstreamWork,
} from '../../src/adapters/jetstream/index.ts'
import { appendTo } from '../jetstream/fixture.ts'
import { fresh, type ServerFaults } from '../subjects/adapter-subjects.ts'
import { jetstreamSubjects, natsClients } from '../subjects/jetstream.ts'
import { natsAdmin } from '../subjects/nats-admin.ts'
import { numbered } from '../tools/numbered.ts'
import { lifetimes } from './lifetimes.ts'

/** Both clients take their turn: the connections are made and closed in one place, for sources and stores as well. */
const connectBy = ({ host, port }: ServerFaults, client: keyof typeof natsClients): ConnectNats =>
  natsClients[client](`nats://${host}:${port}`)

await lifetimes({
  server: 'nats',
  subjectsOn: jetstreamSubjects,
  missing: (url) =>
    Object.values(natsClients).flatMap((connector) => {
      const connect = connector(url)
      const source = jetstreamSource({ connect, stream: 'missing' })
      const sink = jetstreamSink({ connect, stream: 'missing', subject: 'missing' })
      return [
        () => source.stream('', {}),
        () => source.head?.(),
        () => source.backlog?.(''),
        () => source.at?.(1),
        () => sink.open({ route: 'route', source: 'source' }),
        () => jetstreamCursors({ connect, bucket: 'missing' }).get('a'),
      ]
    }),
  publishersOn: (server, way) => ({
    jetstreamPublisher: async () => {
      const stream = fresh('published')
      await using admin = await natsAdmin(server.url)
      await admin.createStream(stream)
      return {
        ...way.faults,
        to: jetstreamPublisher({ connect: connectBy(way, 'nats 2.29'), stream, subject: stream }),
      }
    },
  }),
  worksOn: (server, way) => ({
    jetstreamWork: async () => {
      const stream = fresh('work')
      const admin = await natsAdmin(server.url)
      await admin.createStream(stream)
      const connect = connectBy(way, '@nats-io v3')
      return {
        ...way.faults,
        open: (options) => jetstreamWork({ connect, stream, from: 'start', ...options }),
        append: async (count) => void (await appendTo(admin, stream, numbered(count))),
        corrupt: async () => {
          const fields = ['NATS/1.0', 'reflex-type: x', 'reflex-foreign-id: f', 'reflex-timestamp: 0', '', '']
          await admin.publish(`${stream}.1`, 'data', Buffer.from(fields.join('\r\n')))
        },
        connections: async () => (await admin.info(stream)).state.consumer_count + (await way.faults.connections()),
        [Symbol.asyncDispose]: () => admin[Symbol.asyncDispose](),
      }
    },
  }),
  // Of both clients, named in test/jetstream/known-failures.test.ts, which fails as soon as it is right.
  ungreeted: ['TCPWRAP', 'a connection or consumer on the server'],
  severedMs: 30_000, // rule 6, of a kill -9: a consumer is dropped by the server after 25 s
  sinks: (name) => !name.includes('shared') && name.startsWith('jetstreamSink, atomic') === name.endsWith('v3'),
})
