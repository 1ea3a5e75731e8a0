import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { cachedFolder } from '../../src/testing/servers/cached-folder.ts'
import { until } from './processes.ts'

async function emptyFolder() {
  const path = await mkdtemp(join(tmpdir(), 'reflex-bridge-test-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) }
}

const source = new URL('../../src/testing/servers/cached-folder.ts', import.meta.url).href
const never = new AbortController().signal

/** Another process that fills `folder` in `takesMs`, writing its own id into it first and last. */
function filler(folder: string, takesMs: number): ChildProcess {
  const script = `
    import { appendFileSync } from 'node:fs'
    import { setTimeout } from 'node:timers/promises'
    import { cachedFolder } from ${JSON.stringify(source)}
    await cachedFolder(${JSON.stringify(folder)}, async (partial) => {
      appendFileSync(partial + '/log', 'begin ' + process.pid + '\\n')
      await setTimeout(${takesMs})
      appendFileSync(partial + '/log', 'end ' + process.pid + '\\n')
    }, new AbortController().signal)`
  return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script], {
    stdio: 'inherit',
  })
}

test('of several processes one fills the folder and the others take it', async () => {
  await using base = await emptyFolder()
  const folder = join(base.path, 'thing')
  const fillers = [1, 2, 3].map(() => filler(folder, 200))
  const codes = await Promise.all(fillers.map(async (child) => ((await once(child, 'close')) as [number])[0]))
  expect(codes).toEqual([0, 0, 0])
  expect((await readFile(join(folder, 'log'), 'utf8')).replaceAll(/\d+/g, 'pid')).toBe('begin pid\nend pid\n')
})

test('a fill that was killed leaves nothing that counts, and the next one starts afresh at once', async () => {
  await using base = await emptyFolder()
  const folder = join(base.path, 'thing')
  const killed = filler(folder, 60_000)
  await until(async () => (await readdir(base.path)).some((name) => name.includes('.partial-')))
  killed.kill('SIGKILL')
  await once(killed, 'close')
  expect(existsSync(folder)).toBe(false)
  await cachedFolder(folder, (partial) => writeFile(join(partial, 'whole'), ''), never)
  expect(await readdir(folder)).toEqual(['whole'])
  expect((await readdir(base.path)).filter((name) => name.includes('.partial-'))).toEqual([])
})

test('a fill that throws leaves nothing behind', async () => {
  await using base = await emptyFolder()
  const folder = join(base.path, 'thing')
  const fill = async (partial: string) => {
    await writeFile(join(partial, 'half'), '')
    throw new Error('no network')
  }
  await expect(cachedFolder(folder, fill, never)).rejects.toThrow('no network')
  expect(await readdir(base.path)).toEqual(expect.not.arrayContaining([expect.stringContaining('partial'), 'thing']))
})
