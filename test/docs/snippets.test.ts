import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { connect } from '@nats-io/transport-node'
import { Kafka } from 'kafkajs'
import { createConnection } from 'mysql2/promise'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Server, startServer } from '../../src/testing/index.ts'

const run = promisify(execFile)
const documents = [
  'README.md',
  'docs/kafka.md',
  'docs/jetstream.md',
  'docs/redis.md',
  'docs/mysql.md',
  'docs/transforms.md',
  'docs/patterns.md',
  'docs/observability.md',
  'docs/pubsub.md',
  'docs/grpc.md',
]
const snippets = documents.flatMap((document) => {
  let title = ''
  const found: { name: string; code: string }[] = []
  for (const [, heading, code] of readFileSync(document, 'utf8').matchAll(/^#+ (.*)$|```ts\n([\s\S]*?)```/gm)) {
    if (heading !== undefined) title = heading
    if (code !== undefined) found.push({ name: `${document}, ${title}`, code })
  }
  return found
})

describe('snippets in the documentation', () => {
  const servers = inject('servers')
  const database = `snippets_${process.pid}`
  let folder: string
  let env: NodeJS.ProcessEnv
  let redis: Server
  let nats: Server

  beforeAll(async () => {
    folder = mkdtempSync(join('test', 'docs', 'snippets-')) // within the package, so that it can import itself by name
    const mysql = new URL(servers.mysql.url)
    const sql = await createConnection(mysql.href)
    await sql.query(`create database ${database}`)
    await sql.end()
    mysql.pathname = `/${database}`
    redis = await startServer('redis', { from: ['docker', 'native'] }) // the snippets' keys may mean something in a given one
    nats = await startServer('nats', { from: ['docker', 'native'] })
    env = { ...process.env, MYSQL_URL: mysql.href, REDIS_URL: redis.url, NATS_URL: nats.url }
    env['KAFKA_BROKERS'] = servers.kafka.url
    const admin = new Kafka({ brokers: [servers.kafka.url], logLevel: 0 }).admin()
    await admin.connect()
    const topics = ['signups', 'orders'].map((topic) => ({ topic, numPartitions: 1 }))
    await admin.createTopics({ topics, waitForLeaders: true })
    await admin.disconnect()
    const connection = await connect({ servers: nats.url })
    await (await jetstreamManager(connection)).streams.add({ name: 'SIGNUPS', subjects: ['signups.>'] })
    await jetstream(connection).publish('signups.web', 'ada')
    await connection.close()
  })
  afterAll(async () => {
    rmSync(folder, { recursive: true, force: true })
    await redis[Symbol.asyncDispose]()
    await nats[Symbol.asyncDispose]()
    const connection = await createConnection(servers.mysql.url)
    await connection.query(`drop database ${database}`)
    await connection.end()
  })

  it('are found', () => expect(snippets.length).toBeGreaterThanOrEqual(3))

  it.each(snippets)('$name runs', async ({ code }) => {
    const file = join(folder, `${snippets.findIndex((snippet) => snippet.code === code)}.ts`)
    writeFileSync(file, code)
    await run(process.execPath, ['--conditions=reflex-bridge-source', '--disable-warning=ExperimentalWarning', file], {
      env,
      timeout: 30_000,
    })
  })

  it('have the types that they seem to have', async () => {
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ extends: '../../../tsconfig.json', include: ['*.ts'] }),
    )
    for (const [i, { code }] of snippets.entries()) writeFileSync(join(folder, `${i}.ts`), code)
    await run('tsc', ['-p', folder]).catch((error: { stdout: string }) => expect.fail(error.stdout))
  })
})
