import { jetstreamCursors, jetstreamSink, jetstreamSource } from '../../src/adapters/jetstream/index.ts'
import { jetstreamSubjects, natsClients } from '../subjects/jetstream.ts'
import { lifetimes } from './lifetimes.ts'

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
  // Of both clients, named in test/jetstream/known-failures.test.ts, which fails as soon as it is right.
  ungreeted: ['TCPWRAP', 'a connection or consumer on the server'],
  severedMs: 30_000, // rule 6, of a kill -9: a consumer is dropped by the server after 25 s
  sinks: (name) => !name.includes('shared') && name.startsWith('jetstreamSink, atomic') === name.endsWith('v3'),
})
