import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { suites } from '../../src/testing/index.ts'

const text = readFileSync('docs/verify.md', 'utf8')
const blocks = (language: string): string[] =>
  [...text.matchAll(new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``, 'g'))].map(([, code]) => code as string)

/** Each begins with the name of its file, so that the ones after it can import it. */
const snippets = blocks('ts').map((code) => ({ name: /^\/\/ (\S+)\n/.exec(code)?.[1] ?? 'unnamed', code }))

/** A runner within a runner is to think that it is alone. */
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(VITEST|FORCE_COLOR)/.test(name)))

async function run(...args: readonly string[]): Promise<string> {
  const flags = ['--conditions=reflex-bridge-source', '--disable-warning=ExperimentalWarning']
  const options = { env: { ...env, NO_COLOR: '1' }, timeout: 60_000 }
  return (await promisify(execFile)(process.execPath, [...flags, ...args], options)).stdout
}

/** What `reflex-bridge verify` prints, whether it passes or not. */
function verifyInShell(...args: readonly string[]): Promise<string> {
  return run('src/cli/main.ts', 'verify', ...args).catch((error: { stdout: string }) => error.stdout)
}

describe('docs/verify.md', () => {
  let folder: string
  beforeAll(() => {
    folder = mkdtempSync(join('test', 'examples', 'snippets-')) // within the package, so that it can import itself by name
    for (const { name, code } of snippets) writeFileSync(join(folder, name), code)
    const conditions = "{ ssr: { resolve: { conditions: ['reflex-bridge-source', 'node', 'module-sync'] } }"
    const config = `export default ${conditions}, test: { root: import.meta.dirname, include: ['*.vitest.ts'] } }`
    writeFileSync(join(folder, 'vitest.config.ts'), config)
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it('names the file of each snippet', () => {
    expect(snippets.map(({ name }) => name)).not.toContain('unnamed')
    expect(new Set(snippets.map(({ name }) => name)).size).toBe(snippets.length)
    expect(snippets.length).toBeGreaterThan(5)
  })

  it.for(snippets)('$name runs', async ({ name }) => {
    const file = join(folder, name)
    if (name.endsWith('.vitest.ts')) {
      const told = await run('node_modules/vitest/vitest.mjs', 'run', '--config', join(folder, 'vitest.config.ts'))
      expect(told).toMatch(/Tests\s+\d+ passed/)
    } else if (name.endsWith('.node-test.ts')) expect(await run('--test', file)).toMatch(/^. fail 0$/m)
    else await run(file)
  })

  it('has snippets with the types that they seem to have', async () => {
    const config = { extends: '../../../tsconfig.json', include: ['*.ts'], exclude: ['vitest.config.ts'] }
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
    await promisify(execFile)('tsc', ['-p', folder]).catch((error: { stdout: string }) => expect.fail(error.stdout))
  })

  it('shows what is printed, and lists every property (vitest -u renews it)', async () => {
    const { 1: args = '' } = /^reflex-bridge verify \.\/spec\.ts (--seed .*)$/m.exec(text) ?? []
    const timeless = (output: string): string => output.replaceAll(/ +[\d.,]+ m?s {2}/g, ' N ms  ').trim()
    const printed = await verifyInShell(join(folder, 'spec.ts'), ...args.split(' '))
    const [sample = '', failure = ''] = blocks('text')
    const newSample = timeless(printed) === timeless(sample) ? sample : `${printed.trim()}\n`

    // What is told of the mistake is what is found when it is made.
    mkdirSync(join(folder, 'broken'))
    for (const file of ['foreign-table.ts', 'shop.ts', 'spec.ts']) {
      const code = readFileSync(join('examples', 'foreign-table', file), 'utf8')
      writeFileSync(join(folder, 'broken', file), code.replace('order by seq', 'order by id'))
    }
    const broken = await verifyInShell(join(folder, 'broken', 'spec.ts'), '--only', 'O1', '--seed', '2')
    const newFailure = /^\w+ broken: .*?^ {4}\}\)\n/ms.exec(broken)?.[0] ?? broken
    const tokenIn = (block: string): string => /^Replay: (\S+)$/m.exec(block)?.[1] ?? 'no token'

    const rows = suites.source.properties.map(
      ({ id, grade, title, why }) => `| ${id} | ${grade} | ${title} | ${why} |\n`,
    )
    const renewed = text
      .replace(sample, () => newSample)
      .replace(failure, () => newFailure)
      .replaceAll(tokenIn(failure), tokenIn(newFailure))
      .replace(/(?:^\| [A-Z]\d+ \|.*\n)+/m, () => rows.join(''))
    await expect(renewed).toMatchFileSnapshot('../../docs/verify.md')
    const again = verifyInShell(join(folder, 'broken', 'spec.ts'), '--replay', tokenIn(newFailure))
    expect(await again).toContain(newFailure.split('\n')[0])
  })

  it('lists every fault', async () => {
    const declared = readFileSync('src/testing/source/source-subject.ts', 'utf8').matchAll(
      /^ {2}(?:readonly )?(\w+)\?/gm,
    )
    const listed = [...text.matchAll(/^\| `(\w+)(?:\(\w*\))?` \|/gm)].map(([, name]) => name)
    expect(listed.toSorted()).toEqual([...declared].map(([, name]) => name as string).toSorted())
  })
})
