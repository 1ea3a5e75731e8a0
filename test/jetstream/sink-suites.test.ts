import { describe, inject, test } from 'vitest'
import { sinkSuite } from '../suites/sink.ts'
import { type clients, hasAtomicBatches, sinkFixture } from './sink-fixture.ts'

const { version } = inject('servers').nats

for (const client of ['@nats-io v3', 'nats 2.29'] satisfies (keyof typeof clients)[]) {
  sinkSuite(`jetstreamSink, message by message, ${client}`, () => sinkFixture({ client, atomic: false }), {
    fences: 'at append',
  })
  if (hasAtomicBatches(version)) {
    sinkSuite(`jetstreamSink, atomic batches, ${client}`, () => sinkFixture({ client, atomic: true }), {
      fences: 'at append',
    })
    const shared = () => sinkFixture({ client, atomic: true, shared: true })
    sinkSuite(`jetstreamSink, atomic batches, shared stream, ${client}`, shared, { fences: 'at append' })
  } else {
    describe(`sink jetstreamSink, atomic batches, ${client}`, () => {
      test(`is not available on server ${version}`, ({ skip }) => skip('needs 2.12'))
    })
  }
}
