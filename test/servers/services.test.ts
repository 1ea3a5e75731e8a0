import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { expect, inject, test } from 'vitest'
import { until } from './processes.ts'

const script = fileURLToPath(new URL('../../scripts/services.ts', import.meta.url))

function services(args: string[], env: NodeJS.ProcessEnv = {}) {
  const flags = ['--conditions=reflex-bridge-source', '--disable-warning=ExperimentalWarning']
  return spawn(process.execPath, [...flags, script, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

async function result(args: string[], env: NodeJS.ProcessEnv = {}) {
  const child = services(args, env)
  const [output, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { output, errors, code: code as number | null }
}

test('it prints servers and exports, and Ctrl-C stops them', async () => {
  const child = services(['--only', 'redis,nats'], { REDIS_URL: '', NATS_URL: '' })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk
  })
  await until(() => output.includes('Ctrl-C'))
  expect(output).toMatch(/^redis {2}redis:\/\/127\.0\.0\.1:\d+ {2}\S+ \((native|docker)\)$/m)
  expect(output).toMatch(/^export REDIS_URL=redis:\S+ NATS_URL=nats:\S+$/m)
  const port = Number(/redis:\/\/127\.0\.0\.1:(\d+)/.exec(output)?.[1])
  child.kill('SIGINT')
  const [code] = (await once(child, 'close')) as [number | null]
  expect(code).toBe(0)
  const [error] = (await once(connect(port, '127.0.0.1'), 'error')) as [NodeJS.ErrnoException]
  expect(error.code).toBe('ECONNREFUSED')
})

test('servers of the environment are shown as such', async () => {
  const { url } = inject('servers').redis
  const child = services(['--only', 'redis'], { REDIS_URL: url })
  const [chunk] = (await once(child.stdout, 'data')) as [Buffer]
  expect(chunk.toString()).toContain(`redis  ${url}  `)
  expect(chunk.toString()).toContain('(environment)')
  child.kill('SIGTERM')
  expect(await once(child, 'close')).toEqual([0, null])
})

test('--help, wrong input and a server that is not there', async () => {
  const help = await result(['--help'])
  expect(help).toMatchObject({ code: 0, output: expect.stringContaining('--only NAME,NAME'), errors: '' })
  const unknown = await result(['--only', 'redis,postgres'])
  expect(unknown).toEqual({
    code: 2,
    output: '',
    errors: 'services: --only: expected some of kafka,nats,redis,mysql, got "postgres"\n',
  })
  const option = await result(['--all'])
  expect(option).toMatchObject({
    code: 2,
    output: '',
    errors: expect.stringMatching(/^services: Unknown option '--all'.*\n$/),
  })
  const absent = await result(['--only', 'redis'], { REDIS_URL: 'redis://127.0.0.1:1' })
  expect(absent).toMatchObject({
    code: 1,
    output: '',
    errors: expect.stringContaining('REDIS_URL is set, but redis does not answer'),
  })
})
