import { sinkSuite } from '../suites/sink.ts'
import { sourceSuite } from '../suites/source.ts'
import { ownServer, sinkFixture, sourceFixture } from './fixture.ts'

sourceSuite('kafkaPartition', (options) => sourceFixture(options), {
  withServer: async (options) => sourceFixture(options, await ownServer()),
})

sinkSuite('kafkaSink', () => sinkFixture())
sinkSuite('kafkaSink, at least once', () => sinkFixture({ delivery: 'at-least-once' }), {
  effectivelyOnce: false,
  fences: 'never',
})
