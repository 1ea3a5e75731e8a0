import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect } from '@nats-io/transport-node'
import { describe, expect, test } from 'vitest'
import type { Event } from '../../src/core/event.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { run } from '../../src/core/run.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { errorOf, type Reader, within } from '../tools/reader.ts'
import { clientNames, connector, ownServer } from './fixture.ts'
import { type SourceLog, sourceLog } from './source-log.ts'

/** The server drops a consumer that nobody asks for messages within 25 s, and looks now and then. */
const EXPIRED_WITHIN_MS = 40_000

const ids = (events: readonly Event[]): string[] => events.map(({ id }) => id)

/** What is read until the error, and the error. */
async function untilError(reader: Reader): Promise<{ error: unknown; read: Event[] }> {
  const read: Event[] = []
  const error = await errorOf(
    (async () => {
      for (;;) read.push(...(await reader.take(1)))
    })(),
  )
  return { error, read }
}

describe.concurrent.each(clientNames)('%s', (client) => {
  test('a reader that is away for longer than its consumer lives goes on where it was, or is told why it cannot', {
    timeout: 90_000,
  }, async () => {
    const options = { connect: connector(client), batchSize: 2 }
    const open = async (): Promise<{ one: SourceLog; slow: Reader }> => {
      const one = await sourceLog()
      await one.append(6)
      const slow = await one.open('', options)
      await slow.take(1)
      return { one, slow }
    }
    const [kept, purged, recreated, deleted] = [await open(), await open(), await open(), await open()]
    const expired = ({ one }: { one: SourceLog }): Promise<void> => one.noConsumer(EXPIRED_WITHIN_MS)

    const quiet = await sourceLog()
    const stream = await quiet.source(options).stream('', {})
    onTestFinished(() => stream[Symbol.asyncDispose]())
    const first = stream[Symbol.asyncIterator]().next()
    let failed: unknown
    first.catch((error: unknown) => {
      failed = error
    })

    const handling = await sourceLog()
    await handling.append(5)
    const handled: string[] = []
    const handle = async ({ id }: Event): Promise<void> => {
      if (id === '1') await handling.noConsumer(EXPIRED_WITHIN_MS)
      handled.push(id)
    }
    const consumer = { name: 'slow', handle }
    const running = run(
      { stream: handling.source(options).stream, cursors: memoryCursors(), consumer },
      { toHead: true },
    )

    await Promise.all([kept, purged, recreated, deleted].map(expired))
    await kept.one.append(2, 6)
    expect(ids(await kept.slow.take(7))).toEqual(['2', '3', '4', '5', '6', '7', '8'])
    expect(await kept.one.consumers()).toHaveLength(1)

    await purged.one.purge({ seq: 6 })
    const afterPurge = await untilError(purged.slow)
    expect(afterPurge.error).toMatchObject({ code: 'CURSOR_TRIMMED', earliest: '6' })
    expect(ids(afterPurge.read)).toEqual(Array.from(afterPurge.read, (_, i) => String(2 + i)))

    await recreated.one.end()
    await recreated.one.admin.createStream(recreated.one.stream)
    await recreated.one.append(10, 100) // as if nothing had happened
    const afterRecreation = await untilError(recreated.slow)
    expect(afterRecreation.error).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'recreated' })
    expect(afterRecreation.read.filter(({ foreignId }) => foreignId.length > 2)).toEqual([])
    await recreated.one.noConsumer()

    await deleted.one.end()
    expect((await untilError(deleted.slow)).error).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'recreated' })

    await within(running, EXPIRED_WITHIN_MS, 'the run')
    expect(handled).toEqual(['1', '2', '3', '4', '5'])

    expect(failed).toBeUndefined()
    await quiet.append(1)
    expect(await within(first, 5000, 'the first event')).toMatchObject({ value: { cursor: '1' } })
  })

  test('a server that closes connections which do not read has no reason to close ours: it is never owed more than batchBytes', {
    timeout: 30_000,
  }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'reflex-slow-'))
    onTestFinished(() => rm(folder, { recursive: true, force: true }))
    await writeFile(join(folder, 'nats.conf'), 'max_pending: 1MB')
    const server = await ownServer({ args: ['-c', join(folder, 'nats.conf')] })
    const one = await sourceLog({ storage: 'memory' }, server.url)
    const payload = Buffer.alloc(64 * 1024)
    const COUNT = 800
    await Promise.all(Array.from({ length: COUNT }, () => one.publish('a', payload)))

    await using proxy = await tcpProxy(server)
    const url = `nats://127.0.0.1:${proxy.port}`
    const theirs = await connect({ servers: url, reconnect: false })
    onTestFinished(() => theirs.close())
    theirs.subscribe('all', { callback: () => {} })
    const slow = await one.open('', { connect: connector(client, url), batchBytes: 512 * 1024 })
    const read = await slow.take(1)

    proxy.stall()
    const config = { deliver_subject: 'all', deliver_policy: 'all', ack_policy: 'none' }
    await one.admin.api(`CONSUMER.CREATE.${one.stream}`, { stream_name: one.stream, config })
    await new Promise((resolve) => setTimeout(resolve, 1000))
    proxy.restore()
    await within(theirs.closed(), 5000, 'the end of the connection that asked for everything at once')
    read.push(...(await slow.take(COUNT - 1)))
    expect(ids(read)).toEqual(Array.from({ length: COUNT }, (_, i) => String(i + 1)))
  })
})

test('a handler that holds up the event loop for longer than a server may be silent makes no error', async () => {
  const all = await Promise.all(
    clientNames.map(async (client) => {
      const one = await sourceLog()
      await one.append(1)
      const idle = await one.open('', { connect: connector(client) })
      await idle.take(1)
      return { one, next: idle.take(1) }
    }),
  )
  await new Promise((resolve) => setTimeout(resolve, 100)) // the requests are under way
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 4000)
  await new Promise((resolve) => setTimeout(resolve, 100))
  for (const { one, next } of all) {
    await one.append(1, 1)
    expect(ids(await next)).toEqual(['2'])
  }
})
