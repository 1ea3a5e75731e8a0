import { kafkaPartition, kafkaPublisher, kafkaSink } from '../../src/adapters/kafka/index.ts'
import { publisher } from '../../src/pubsub/index.ts'
import { topicAdmin } from '../kafka/fixture.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { kafkaAdapterClient, kafkaSubjects, kafkaTestClient } from '../subjects/kafka.ts'
import { lifetimes } from './lifetimes.ts'

await lifetimes({
  server: 'kafka',
  subjectsOn: kafkaSubjects,
  missing: (url) => {
    const kafka = kafkaAdapterClient(url)
    const source = kafkaPartition(kafka, { topic: 'missing', partition: 0 })
    return [
      () => source.stream('', {}),
      () => source.head?.(),
      () => source.backlog?.(''),
      () => source.at?.(1),
      () => publisher({ to: kafkaPublisher(kafka, { topic: 'missing' }), client: 'x' }).publish({}),
      () => kafkaSink(kafka, { topic: 'missing' }).open({ route: 'route', source: 'source' }),
    ]
  },
  publishersOn: ({ url }, way) => ({
    kafkaPublisher: async () => {
      const topic = fresh('published')
      const admin = await topicAdmin(topic, { brokers: url })
      return {
        ...way.faults,
        to: kafkaPublisher(kafkaAdapterClient(url, way), { topic }),
        [Symbol.asyncDispose]: () => admin[Symbol.asyncDispose](),
      }
    },
  }),
  kept: async (url) => {
    const admin = kafkaTestClient(url).admin()
    await admin.connect()
    try {
      return (await admin.listGroups()).groups.map(({ groupId }) => `the group ${groupId}`)
    } finally {
      await admin.disconnect()
    }
  },
})
