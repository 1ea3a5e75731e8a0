import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'

interface Ran {
  readonly code: number
  readonly lines: readonly string[]
  readonly stderr: string
}

async function zoo(...args: string[]): Promise<Ran> {
  const command = ['--conditions=reflex-bridge-source', '--disable-warning=ExperimentalWarning', 'scripts/zoo.ts']
  const { stdout, stderr, code } = await promisify(execFile)('node', [...command, ...args]).then(
    (done) => ({ ...done, code: 0 }),
    (error: { stdout: string; stderr: string; code: number }) => error,
  )
  return { code, lines: stdout.trim().split('\n'), stderr }
}

/** A module outside the repository. */
function moduleOf(code: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'zoo-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'cases.mjs')
  writeFileSync(file, code)
  return file
}

const core = new URL('../../src/core/index.ts', import.meta.url).href

test('holds further cases against the suites, and says in its last line what became of them', async () => {
  const file = moduleOf(`
    import { memoryCursors, memoryLog } from ${JSON.stringify(core)}
    const log = (change) => () => {
      const made = memoryLog()
      const append = async (events) => made.append(...events).map(({ id }) => id)
      return { source: { ...made.source, ...change(made.source) }, append }
    }
    export const cases = [
      { name: 'outside: forgets the cursor', create: log(({ stream }) => ({ stream: (after, o) => stream('', { ...o, fromHead: false }) })) },
      { name: 'outside: last write wins', of: 'cursors', create: () => {
        const cursors = memoryCursors()
        return { cursors: { ...cursors, set: (name, cursor) => cursors.reset(name, cursor) } }
      } },
      { name: 'outside: not broken at all', create: log(() => ({})) },
    ]
    export const correct = [{ name: 'outside: a memory log', create: log(() => ({})) }]`)
  const { code, lines } = await zoo('--module', file, '--only', 'outside', '--seeds', '3', '--json')
  expect(JSON.parse(lines.at(-1) ?? '')).toEqual({
    total: 3,
    killed: 2,
    survivors: ['source: outside: not broken at all'],
    medianCommands: expect.any(Number),
    falseAlarms: 0,
  })
  expect(code).toBe(1)
  expect(lines.join('\n')).toMatch(/killed by S2 +source +outside: forgets the cursor \(\d+ commands, [\d.]+ s/)
  expect(lines.join('\n')).toMatch(/no alarm +source +outside: a memory log \(3 seeds/)
})

test('refuses what it does not understand', async () => {
  const nothing = moduleOf('export const a = 1')
  for (const [args, told] of [
    [['--seeds', 'x'], '--seeds must be a whole number, but is "x"'],
    [['--module', nothing], 'exports no cases: expected an array of { name, of, create }, found a'],
    [['--module', '/nowhere.mjs'], 'nowhere.mjs'],
    [['--modul', 'x'], "Unknown option '--modul'"],
  ] as const) {
    const { code, stderr } = await zoo(...args)
    expect(stderr).toContain(told)
    expect(code).toBe(2)
  }
  expect((await zoo('--help')).lines[0]).toContain('Usage: npm run zoo')
})
