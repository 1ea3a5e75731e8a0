import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readlink } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { expect, test } from 'vitest'
import { startServer } from '../../src/testing/servers/index.ts'
import { isRunning, until } from './processes.ts'

interface Owner {
  readonly child: ChildProcess
  readonly pid: number
  readonly folder: string
}

const index = new URL('../../src/testing/servers/index.ts', import.meta.url).href

/** A process of its own that starts a redis, says where it is, and then does `afterwards`. */
async function owner(afterwards: string): Promise<Owner> {
  const script = `
    import { startServer } from ${JSON.stringify(index)}
    const redis = await startServer('redis', { from: ['native'] })
    console.log(redis.process.pid)
    process.stdin.once('data', () => { ${afterwards} })`
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script],
    { stdio: ['pipe', 'pipe', 'ignore'] },
  )
  const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
  const pid = Number(line)
  return { child, pid, folder: await readlink(`/proc/${pid}/cwd`) }
}

async function expectGone({ pid, folder }: Owner): Promise<void> {
  await until(async () => !(await isRunning(pid)))
  await until(() => !existsSync(folder))
}

test('dispose ends the process and removes its data', async () => {
  const redis = await startServer('redis', { from: ['native'] })
  const pid = redis.process?.pid ?? 0
  expect(await isRunning(pid)).toBe(true)
  redis.process?.freeze()
  await redis[Symbol.asyncDispose]()
  expect(await isRunning(pid)).toBe(false)
  await redis[Symbol.asyncDispose]()
  await expect(redis.process?.start()).rejects.toThrow('disposed')
})

test.each(['SIGKILL', 'SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  '%s of the owner ends its server and removes its data',
  async (signal) => {
    const owned = await owner('')
    expect(existsSync(owned.folder)).toBe(true)
    owned.child.kill(signal)
    await expectGone(owned)
  },
)

test.each([
  ['process.exit', 'process.exit(3)'],
  ['an uncaught exception', 'throw new Error("uncaught")'],
  ['kill -9 while its server is frozen', 'redis.process.freeze(); process.kill(process.pid, "SIGKILL")'],
  [
    'kill -9 after its server was restarted',
    'redis.process.kill().then(() => redis.process.start()).then(() => process.kill(process.pid, "SIGKILL"))',
  ],
])('%s of the owner ends its server and removes its data', async (_name, afterwards) => {
  const owned = await owner(afterwards)
  owned.child.stdin?.write('go\n')
  await once(owned.child, 'close')
  await expectGone(owned)
})
