import { kafkaPartition, kafkaSink } from '../../src/adapters/kafka/index.ts'
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
      () => kafkaSink(kafka, { topic: 'missing' }).open({ route: 'route', source: 'source' }),
    ]
  },
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
