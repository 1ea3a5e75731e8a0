import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createConnection } from 'mysql2/promise'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Server, startServer } from '../../src/testing/index.ts'

const run = promisify(execFile)
const documents = ['README.md']
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

  beforeAll(async () => {
    folder = mkdtempSync(join('test', 'docs', 'snippets-')) // within the package, so that it can import itself by name
    const mysql = new URL(servers.mysql.url)
    const connection = await createConnection(mysql.href)
    await connection.query(`create database ${database}`)
    await connection.end()
    mysql.pathname = `/${database}`
    redis = await startServer('redis', { from: ['docker', 'native'] }) // the snippets' keys may mean something in a given one
    env = { ...process.env, MYSQL_URL: mysql.href, REDIS_URL: redis.url }
  })
  afterAll(async () => {
    rmSync(folder, { recursive: true, force: true })
    await redis[Symbol.asyncDispose]()
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
