import { describe, inject } from 'vitest'
import { disposeStack } from '../../src/core/dispose-stack.ts'
import { conformance } from '../../src/testing/conformance/index.ts'
import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import { gate } from '../subjects/gate.ts'
import { jetstreamSubjects } from '../subjects/jetstream.ts'
import { kafkaSubjects } from '../subjects/kafka.ts'
import { mysqlSubjects } from '../subjects/mysql.ts'
import { redisSubjects } from '../subjects/redis.ts'
import { routeOf } from '../subjects/route.ts'

const servers = inject('servers')
const opened = disposeStack()
const from = opened.use(await mysqlSubjects(servers.mysql))
const [source] = Object.values(from.sources) as [() => Promise<SourceSubject>]
const [checkpoints] = Object.values(from.stores) as [() => Promise<CursorStoreSubject>]
const destinations = [
  opened.use(await redisSubjects(servers.redis)),
  opened.use(await jetstreamSubjects(servers.nats)),
  opened.use(await kafkaSubjects(servers.kafka)),
]
const { options } = gate('routes from mysql', opened, 2)

// The first of each adapter: the soak plays the others too.
for (const { sinks } of destinations) {
  const [name, sink] = Object.entries(sinks)[0] as [string, (typeof sinks)[string]]
  describe(`mysql to ${name}`, () => {
    conformance({ ...options, of: 'bridge', create: () => routeOf({ source, sink, checkpoints }) })
  })
}
