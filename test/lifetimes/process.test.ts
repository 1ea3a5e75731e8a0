import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { expect, inject, test } from 'vitest'
import { jetstreamCursors } from '../../src/adapters/jetstream/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { natsClients } from '../subjects/jetstream.ts'
import { kafkaTestClient } from '../subjects/kafka.ts'
import { natsAdmin } from '../subjects/nats-admin.ts'
import { within } from '../tools/reader.ts'
import { adapterNames, useAndClose } from './use-and-close.ts'

/** Rule 6 says 1 s; the rest is for the end of a process on a busy machine. */
const ENDS_WITHIN_MS = 3000

/** Makes the log where the adapter expects one; resolves with its server. */
async function prepare(name: string, log: string): Promise<string> {
  const { kafka, nats, redis } = inject('servers')
  if (name === 'redis') return redis.url
  if (name === 'kafka') {
    const admin = kafkaTestClient(kafka.url).admin()
    await admin.connect()
    await admin.createTopics({ topics: [{ topic: log, numPartitions: 1 }], waitForLeaders: true })
    await admin.disconnect()
    return kafka.url
  }
  await using admin = await natsAdmin(nats.url)
  await admin.createStream(log)
  await jetstreamCursors({ connect: natsClients['@nats-io v3'](nats.url), bucket: log }).createBucket()
  return nats.url
}

test.each(adapterNames)('a process that has used %s, and closed it, ends by itself', async (name) => {
  const log = fresh('process')
  const call = `await ${useAndClose.name}(...${JSON.stringify([name, await prepare(name, log), log])})`
  const module = JSON.stringify(new URL('use-and-close.ts', import.meta.url).href)
  const child = spawn(
    process.execPath,
    ['--input-type=module', '-e', `const { ${useAndClose.name} } = await import(${module}); ${call}`],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const errors = text(child.stderr)
  const ended = once(child, 'close')
  try {
    const closed = once(createInterface(child.stdout), 'line')
    expect(await Promise.race([closed, ended.then(() => errors)])).toEqual(['closed'])
    expect(await within(ended, ENDS_WITHIN_MS, 'the end of the process')).toEqual([0, null])
  } finally {
    child.kill('SIGKILL')
  }
})
