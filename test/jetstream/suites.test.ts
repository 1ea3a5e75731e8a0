import { jetstreamCursors } from '../../src/adapters/jetstream/index.ts'
import { cursorStoreSuite } from '../suites/cursor-store.ts'
import { sourceSuite } from '../suites/source.ts'
import { clientNames, connector, fresh, ownServer, sourceFixture, streamAdmin } from './fixture.ts'

for (const client of clientNames) {
  sourceSuite(`jetstreamSource, ${client}`, (options) => sourceFixture({ client, ...options }), {
    withServer: async (options) => sourceFixture({ client, ...options, server: await ownServer() }),
  })

  cursorStoreSuite(`jetstreamCursors, ${client}`, async () => {
    const bucket = fresh('cursors')
    const store = () => jetstreamCursors({ connect: connector(client), bucket })
    await store().createBucket()
    return {
      cursors: store(),
      another: async () => store(),
      [Symbol.asyncDispose]: async () => {
        await using admin = await streamAdmin()
        await admin.api(`STREAM.DELETE.KV_${bucket}`)
      },
    }
  })
}
