import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, test } from 'vitest'
import { create as foreignTable } from '../../examples/foreign-table/spec.ts'
import { create as httpPages } from '../../examples/http-pages/spec.ts'
import { jsonLines, toLine } from '../../examples/json-lines/json-lines.ts'
import { create as jsonLinesSubject } from '../../examples/json-lines/spec.ts'
import { eventsOf, memoryLog } from '../../src/core/index.ts'
import { conformance, type PropertyResult, type SourceSubject } from '../../src/testing/index.ts'

const adapters = {
  'json-lines': { create: jsonLinesSubject, untested: ['S12', 'Q2', 'Q3', 'Y3', 'Y4', 'Y5', 'Y6'] },
  'http-pages': { create: httpPages, untested: ['Q3', 'Y6'] },
  'foreign-table': { create: foreignTable, untested: ['Y3', 'Y4', 'Y5', 'Y6'] },
}

describe.each(Object.entries(adapters))('examples/%s', (name, { create, untested }) => {
  const folder = join('examples', name)
  const results: PropertyResult[] = []
  conformance({
    test,
    create,
    runs: 15,
    seed: 1,
    timeLimitMs: 250,
    onResult: (result) => void results.push(result),
  })

  it('is tested in all that it has', () => {
    expect(results.filter(({ outcome }) => outcome === 'untested').map(({ id }) => id)).toEqual(untested)
  })

  it('is short, and needs nothing but this package and Node', () => {
    for (const [file, limit] of [
      [`${name}.ts`, 149],
      ['spec.ts', 30],
    ] as const) {
      const code = readFileSync(join(folder, file), 'utf8')
      expect(code.trimEnd().split('\n').length, file).toBeLessThanOrEqual(limit)
      const imported = [...code.matchAll(/ from '([^']+)'/g)].map(([, module]) => module as string)
      const own = readdirSync(folder).map((other) => `./${other}`)
      const foreign = imported.filter((module) => !module.startsWith('node:') && !own.includes(module))
      expect(new Set([...foreign, 'reflex-bridge', 'reflex-bridge/testing']), file).toEqual(
        new Set(['reflex-bridge', 'reflex-bridge/testing']),
      )
      expect(code).not.toMatch(/^import \{.*'reflex-bridge\/testing'/m)
    }
  })
})

describe('examples/json-lines', () => {
  let folder: string
  let path: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'examples-'))
    path = join(folder, 'log')
  })
  afterEach(() => rmSync(folder, { recursive: true }))
  const lines = (...foreignIds: string[]): string =>
    foreignIds.map((foreignId) => `${toLine({ type: 1, foreignId, timestamp: 0 })}\n`).join('')
  const read = async (after: string): Promise<string[]> => {
    const stream = await jsonLines(path).stream(after, { toHead: true })
    const foreignIds: string[] = []
    for await (const { foreignId } of eventsOf(stream)) foreignIds.push(foreignId)
    return foreignIds
  }

  it('knows a line again, so that a file that was replaced by a longer one is an error', async () => {
    writeFileSync(path, lines('a', 'b'))
    const cursor = await jsonLines(path).head?.()
    writeFileSync(`${path}.new`, lines('a', 'b', 'c'))
    renameSync(`${path}.new`, path)
    expect(await read(cursor as string)).toEqual(['c'])
    writeFileSync(`${path}.new`, lines('a', 'x', 'c'))
    renameSync(`${path}.new`, path)
    await expect(read(cursor as string)).rejects.toMatchObject({ code: 'CURSOR_AHEAD', reason: 'recreated' })
  })

  it('notices while it streams that the file was replaced', async () => {
    writeFileSync(path, lines('a'))
    await using stream = await jsonLines(path, { pollMs: 1 }).stream('', {})
    const iterator = stream[Symbol.asyncIterator]()
    await iterator.next()
    const next = iterator.next()
    writeFileSync(`${path}.new`, lines('x', 'y', 'z'))
    renameSync(`${path}.new`, path)
    await expect(next).rejects.toMatchObject({ code: 'CURSOR_AHEAD' })
  })

  it('reads lines that are longer than what it reads at once, up to the last whole one', async () => {
    writeFileSync(path, `${lines('a', 'b'.repeat(300_000), 'c')}{"type":1,`)
    expect(await read('')).toEqual(['a', 'b'.repeat(300_000), 'c'])
  })
})

describe('a test runner', () => {
  const create = (): SourceSubject => {
    const log = memoryLog({ batchSize: 3 })
    return { source: log.source, append: async (events) => log.append(...events).map(({ id }) => id) }
  }
  const register = { create, runs: 3, seed: 1, limitMs: 200 }
  /** Gives the newest event twice. */
  const broken = (): SourceSubject => {
    const subject = create()
    const { stream } = subject.source
    const source: SourceSubject['source'] = {
      ...subject.source,
      stream: async (after, options) => {
        const opened = await stream(after, options)
        const twice = async function* (): ReturnType<(typeof opened)[typeof Symbol.asyncIterator]> {
          for await (const { events, cursor } of opened) yield { events: [...events, ...events.slice(-1)], cursor }
        }
        return Object.assign(Object.create(opened), { [Symbol.asyncIterator]: twice })
      },
    }
    return { ...subject, source }
  }

  it('of the shape of jest is given functions that do not wait for a callback', async () => {
    const registered: { title: string; body: () => Promise<void>; timeoutMs: number | undefined }[] = []
    conformance({ ...register, test: (title, body, timeoutMs) => void registered.push({ title, body, timeoutMs }) })
    expect(registered.length).toBeGreaterThan(25)
    for (const { body, timeoutMs } of registered) {
      expect(body.length).toBe(0) // jest takes a parameter for its callback
      expect(timeoutMs).toBeGreaterThan(10_000)
      await body()
    }
  })

  it('of the shape of mocha is told of its time limit, and of what is skipped', async () => {
    const timeouts: number[] = []
    const skipped: string[] = []
    const pending = new Error('sync skip; aborting execution') // how mocha skips
    const mocha = async (title: string, body: () => Promise<void>): Promise<void> => {
      expect(body.length).toBe(0)
      const context = {
        timeout: (ms: number) => void timeouts.push(ms),
        skip: (): never => {
          skipped.push(title)
          throw pending
        },
      }
      await body.call(context).catch((error: unknown) => {
        if (error !== pending) throw error
      })
    }
    const running: Promise<void>[] = []
    conformance({ ...register, test: (title, body) => void running.push(mocha(title, body)) })
    await Promise.all(running)
    expect(timeouts.length).toBe(running.length)
    expect(skipped.map((title) => title.split(' ')[0])).toEqual(expect.arrayContaining(['S12', 'Y4', 'Y6']))
  })

  it('is told what is broken', async () => {
    const failures: unknown[] = []
    const running: Promise<void>[] = []
    const fails = (error: unknown): void => void failures.push(error)
    const only = ['S1']
    conformance({ ...register, create: broken, only, test: (_, body) => void running.push(body().catch(fails)) })
    await Promise.all(running)
    expect(failures).toMatchObject([{ code: 'CONFORMANCE', message: expect.stringContaining('Replay: ') }])
  })

  describe('node:test', () => {
    let folder: string
    beforeAll(() => {
      folder = mkdtempSync(join('test', 'examples', 'node-test-')) // within the package, so that it can import itself by name
    })
    afterAll(() => rmSync(folder, { recursive: true, force: true }))

    const nodeTest = async (create: string): Promise<{ code: number; stdout: string }> => {
      const file = join(folder, 'example.ts')
      writeFileSync(
        file,
        `import { test } from 'node:test'
import { conformance } from 'reflex-bridge/testing'
import { create } from '../../../examples/json-lines/spec.ts'
conformance({ test, create: ${create}, runs: 5, seed: 1, limitMs: 500, only: ['S1', 'O3', 'S12'] })
`,
      )
      const { NODE_TEST_CONTEXT: _, ...env } = process.env
      const flags = ['--conditions=reflex-bridge-source', '--test', '--test-reporter=tap', file]
      return promisify(execFile)(process.execPath, flags, { env }).then(
        ({ stdout }) => ({ code: 0, stdout }),
        ({ code, stdout }: { code: number; stdout: string }) => ({ code, stdout }),
      )
    }

    it('passes and skips', async () => {
      const { code, stdout } = await nodeTest('create')
      expect(stdout).toMatch(/ok \d+ - S12 .*# SKIP it needs trim/)
      expect(stdout).toMatch(/^# pass 2\n# fail 0\n# cancelled 0\n# skipped 1$/m)
      expect(code).toBe(0)
    })

    it('fails with the steps and the token', async () => {
      const { code, stdout } = await nodeTest(`() => {
  const subject = create()
  const append = async (events) => (await subject.append(events)).map((id) => id + 'x')
  return { ...subject, append }
}`)
      expect(stdout).toMatch(/not ok \d+ - S1 /)
      expect(stdout).toMatch(/Replay: \S+/)
      expect(code).not.toBe(0)
    })
  })
})
