import { readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { importSubject } from '../../src/cli/verify/import-subject.ts'
import { verifyCommand } from '../../src/cli/verify.ts'
import { replay } from '../../src/testing/conformance/index.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import { jsonLines, newFolder, run, start } from './command.ts'

/** In memory, nothing takes this long unless it hangs. */
const inMemory = ['--limit', '200', '--runs', '30']
const lastLine = /\n(\d+) passed, (\d+) failed, (\d+) untested; [\d,]+ schedules; seed (-?\d+)\n$/

/** A module over the log in memory, in a folder of its own; `change` is put in front of what is returned. */
function sourceModule(change = '', { before = '', name = 'adapter.ts' } = {}): string {
  const memoryLog = pathToFileURL(resolve('src/core/memory-log.ts')).href
  return moduleOf(
    `import { memoryLog } from ${JSON.stringify(memoryLog)}
    ${before}
    export function create(): object {
      const log = memoryLog()
      const subject = {
        source: log.source,
        append: async (events: readonly never[]) => log.append(...events).map(({ id }: { id: string }) => id),
        trim: async (id: string) => log.trim(id),
        remove: async (id: string) => log.remove(id),
        recreate: async () => log.recreate(),
        rewind: async (id: string) => log.rewind(id),
      }
      ${change}
      return subject
    }`,
    name,
  )
}

function moduleOf(code: string, name = 'adapter.ts'): string {
  const path = join(newFolder(), name)
  writeFileSync(path, code)
  return path
}

/** Passes over every second event of a large batch. */
const skipping = `
  const { source } = subject
  const stream: typeof source.stream = async (after, options) => {
    const opened = await source.stream(after, options)
    return Object.assign(Object.create(opened), {
      [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
      async *[Symbol.asyncIterator]() {
        for await (const { events, cursor } of opened)
          yield { events: events.length > 3 ? events.filter((_, i) => i !== 1) : events, cursor }
      },
    })
  }
  return { ...subject, source: { ...source, stream } }`

interface Printed {
  readonly of: string
  readonly seed: number
  readonly schedules: number
  readonly elapsedMs: number
  readonly left: readonly string[]
  readonly properties: readonly {
    readonly id: string
    readonly outcome: string
    readonly reason?: string
    readonly failure?: { property: string; message: string; steps: string[]; token: string; test: string }
  }[]
}

describe('verify', () => {
  it('passes a correct source, and lists what it could not test', async () => {
    const { code, stdout, stderr } = await run(['verify', sourceModule(), ...inMemory, '--seed', '7'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: expect.not.stringContaining('failed') })
    const [, passed, failed, untested, seed] = lastLine.exec(stdout) ?? []
    expect({ failed, seed }).toEqual({ failed: '0', seed: '7' })
    expect(Number(passed)).toBeGreaterThan(10)
    expect(Number(untested)).toBeGreaterThan(0)
    expect(stdout).toMatch(/^id +grade +outcome +schedules +time +rule\n/)
    expect(stdout).toMatch(/\nS12 +capability +passed +30 +\d+ ms {2}\S/)
    expect(stdout).toMatch(/\nS14 +capability +untested +– .*\n +untested: it needs corrupt, which create\(\) does not/)
    const lines = stderr.trim().split('\n')
    expect(lines[0]).toMatch(/adapter\.ts: \d+ properties of a source, up to 30 schedules each, seed 7$/)
    expect(
      lines.filter((line) => /^\w+ (passed, 30 schedules|untested, \d+ schedules?), \d+ ms/.test(line)),
    ).toHaveLength(Number(passed) + Number(untested))
    expect(stderr + stdout).not.toContain('\x1b')
  })

  it('fails a broken one, with steps, a test and a token that breaks it every time', async () => {
    const [broken, correct] = [sourceModule(skipping), sourceModule()]
    const page = join(newFolder(), 'report.html')
    const args = ['verify', broken, ...inMemory, '--seed', '7', '--only', 'S1,O1,S14', '--json', '--report', page]
    const { code, stdout, stderr } = await run(args)
    expect(code).toBe(1)
    expect(jsonLines(stdout)).toHaveLength(1)
    const printed = JSON.parse(stdout) as Printed
    expect(printed).toMatchObject({ of: 'source', seed: 7, left: [] })
    expect(printed.properties.map(({ id, outcome }) => `${id} ${outcome}`)).toEqual([
      'S1 failed',
      'S14 untested',
      'O1 failed',
    ])
    const failure = printed.properties[0]?.failure
    if (failure === undefined) throw new Error('there is no failure')
    const { token, test, property, message } = failure
    expect(test).toContain('replay({ create, schedule: [')
    expect(stderr).toContain(`${property} broken: ${message}`)
    expect(stderr).toContain(`\nReplay: ${token}\n`)
    expect(stderr).toContain(`\n    test('${property} holds', async () => {\n`)
    expect(stderr).toMatch(/\n {3}1\. \S/)
    expect(stderr).toMatch(/\n0 passed, 2 failed, 1 untested; [\d,]+ schedules; seed 7\n/)

    const html = readFileSync(page, 'utf8')
    checkPage(html)
    for (const part of [token, 'Seed', '>S14<', 'capability', 'untested', 'fast-check 4.']) expect(html).toContain(part)
    expect(html.match(/<li>/g)?.length).toBeGreaterThanOrEqual(failure.steps.length)

    const { create } = (await import(pathToFileURL(broken).href)) as { create(): SourceSubject }
    for (let i = 0; i < 100; i++)
      await expect(replay({ create, schedule: token, limitMs: 200 })).rejects.toMatchObject({ property, message })
    const [text, json, holds] = await Promise.all([
      run(['verify', broken, '--replay', token, '--limit', '200']),
      run(['verify', broken, '--replay', token, '--limit', '200', '--json']),
      run(['verify', correct, '--replay', token, '--limit', '200']),
    ])
    expect(text).toMatchObject({ code: 1, stderr: '' })
    expect(text.stdout).toContain(`\n${property} broken: ${message}\n`)
    expect(text.stdout).toContain(`   1. ${failure.steps[0]}\n`)
    expect(json).toMatchObject({ code: 1, stderr: text.stdout })
    expect(jsonLines(json.stdout)).toMatchObject([{ of: 'source', property, broken: { property, message } }])
    expect(holds.code).toBe(0)
    expect(holds.stdout).toMatch(new RegExp(`\n${property} holds now\n$`))
  })

  it('reports what hangs, exits or throws where nobody can catch it, instead of waiting for it', async () => {
    const never = 'new Promise<never>(() => {})'
    const cases: readonly (readonly [path: string, message: RegExp])[] = [
      [sourceModule(`subject.source = { ...log.source, stream: () => ${never} }`), /has not ended within 200 ms/],
      [sourceModule('subject.append = async () => { for (;;); }'), /kept the event loop for \d+ s: is there a loop/],
      [sourceModule(`return ${never}`), /^reflex-bridge: create\(\) has not returned a subject within 1,000 ms$/m],
      [
        sourceModule(`Object.assign(subject, { [Symbol.asyncDispose]: () => ${never} })`),
        /asyncDispose\]\(\) of the subject has not ended within 1,000 ms/,
      ],
      [
        sourceModule("Object.assign(subject, { [Symbol.asyncDispose]: () => { throw new Error('in use') } })"),
        /asyncDispose\]\(\) of the subject failed: in use/,
      ],
      [sourceModule("void Promise.reject(new Error('floating'))"), /nobody could catch it: Error: floating/],
      [sourceModule('process.exit(0)'), /the module ended the process, with exit code 0/],
    ]
    const args = [...inMemory, '--time-limit', '1500', '--only', 'S1,S2']
    await inTurns(cases, async ([path, message]) => {
      const { code, stdout, stderr } = await run(['verify', path, ...args])
      expect(stdout + stderr).toMatch(message)
      expect(code).toBe(1)
    })
  })

  it('keeps stdout for what was found, and shows markup and control characters as text', async () => {
    const evil = '<script>alert(1)</script>\\u001b[2J & mysql://app:hunter2@h/x'
    const page = join(newFolder(), 'report.html')
    const path = sourceModule(
      `console.log('from the module')\nsubject.append = async () => { throw new Error('${evil}') }`,
      { name: "it's <b>&.ts" },
    )
    const args = ['verify', path, ...inMemory, '--only', 'S1', '--json', '--report', page]
    const { code, stdout, stderr } = await run(args)
    expect(code).toBe(1)
    expect(stderr).toContain('from the module\n')
    expect(stderr).toContain(
      'the schedule could not be played: <script>alert(1)</script>\\u001b[2J & mysql://app:***@h/x',
    )
    expect(jsonLines(stdout)).toHaveLength(1)
    const html = readFileSync(page, 'utf8')
    checkPage(html)
    expect(html).toContain('&lt;script&gt;alert(1)&lt;/script&gt;\\u001b[2J &amp; mysql://app:***@h/x')
    expect(stdout + stderr + html).not.toContain('hunter2')
    expect(stderr + html).not.toContain('\x1b')
  })

  it('ends after the schedule under way when it is interrupted, with what was found so far', async () => {
    const path = sourceModule('return new Promise((resolve) => setTimeout(resolve, 20, subject))')
    const running = start(['verify', path, '--limit', '200', '--runs', '20', '--json'])
    await running.printed(/^S1 passed/m)
    running.child.kill('SIGINT')
    const { code, stdout, stderr } = await running.ended
    expect(code).toBe(130)
    expect(stderr).toMatch(/^stopping after the schedule under way; Ctrl-C again ends at once$/m)
    expect(stderr).toMatch(/^Not looked at: .*Y1/m)
    const [{ properties, left } = {} as Printed] = jsonLines(stdout) as unknown as Printed[]
    expect(properties[0]).toMatchObject({ id: 'S1', outcome: 'passed' })
    expect(left).toContain('Y1')
  })

  it('lists the properties without a module', async () => {
    const [text, json] = await Promise.all([
      run(['verify', '--list', '--only', 'S1,S14']),
      run(['verify', '--list', '--of', 'sink', '--json']),
    ])
    expect(text).toMatchObject({ code: 0, stderr: '' })
    expect(text.stdout).toMatch(/^S1 +required +\S.*\n +\S.*\nS14 .*\n.*\n +It needs corrupt of the subject\.\n$/)
    const [{ of, properties } = {}] = jsonLines(json.stdout)
    expect({ code: json.code, of }).toEqual({ code: 0, of: 'sink' })
    const told = {
      id: expect.any(String),
      grade: expect.any(String),
      title: expect.any(String),
      why: expect.any(String),
    }
    for (const property of properties as unknown[]) expect(property).toMatchObject(told)
  })

  it('refuses wrong modules, and says what was expected', async () => {
    const good = sourceModule()
    const code = 'export const create = () => ({})'
    const refused: readonly (readonly [args: readonly string[], message: RegExp])[] = [
      [[], /missing required argument 'file'/],
      [['missing.ts'], /missing\.ts: there is no file \S+missing\.ts/],
      [[moduleOf("throw new Error('boom')")], /adapter\.ts cannot be imported: boom/],
      [[moduleOf('export const create = (')], /adapter\.ts cannot be imported: .*\(\S+adapter\.ts:1\)/],
      [
        [moduleOf(`export const of = 'sauce'\n${code}`)],
        /expected the exported of to be one of source, .* found "sauce"/,
      ],
      [[moduleOf(`export const of = 'sink'\n${code}`), '--of', 'source'], /--of source contradicts .* of = "sink"/],
      [[moduleOf(code)], /create\(\) of a source must return .* source and append are missing/],
      [[good, '--only', 'S1,X9'], /there is no property "X9" in the suite "source": expected some of S1, /],
      [[good, '--report', 'nowhere/report.html'], /--report nowhere\/report\.html: there is no folder/],
      [[good, '--replay', 'abc'], /"abc" is not a replay token/],
    ]
    await inTurns(refused, async ([args, message]) => {
      const { code, stdout, stderr } = await run(['verify', ...args])
      const told = stderr.replace(/^.*properties of a source, up to.*\n/, '')
      expect(told).toMatch(message)
      expect(told).toMatch(/^reflex-bridge: [^\n]+\n$/)
      expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: '' })
    })
  })

  it.each([
    ['export const creat = 1', /expected a function create .* it exports creat: is creat meant to be create\?/],
    ['export {}', /expected a function create .* it exports nothing$/],
    ['export const create = 7', /expected create to be a function .* it is of type number/],
    ["import 'nowhere'", /a\.ts cannot be imported: .*nowhere/],
  ])('refuses the module %s', async (code, message) => {
    await expect(importSubject(moduleOf(code), 'a.ts')).rejects.toThrow(message)
  })

  it('takes a module in CommonJS', async () => {
    const { create, of } = await importSubject(
      moduleOf("exports['create'] = () => 1; exports.of = 'sink'", 'a.cjs'),
      'a.cjs',
    )
    expect([create(), of]).toEqual([1, 'sink'])
  })

  it.each<[args: string, message: RegExp]>([
    ['a.ts --of sauce', /expected one of source, cursors, sink, run, bridge, found "sauce"/],
    ['a.ts --only S1,', /expected ids with commas between them, like S12,L2, found "S1,"/],
    ['a.ts --runs 0', /expected a whole number from 1 on, found "0"/],
    ['a.ts --runs 1.5', /expected a whole number from 1 on, found "1.5"/],
    ['a.ts --seed 4294967296', /expected a 32-bit integer, found "4294967296"/],
    ['a.ts --limit 2147483648', /expected milliseconds, at most 2147483647, found 2147483648/],
    ['a.ts --time-limit 1e3', /expected a whole number from 1 on, found "1e3"/],
    ['a.ts --replay abc --runs 1', /'--replay <token>' cannot be used with option '--runs <n>'/],
    ['--list --seed 1', /'--list' cannot be used with option '--seed <n>'/],
    ['--list --only X9', /there is no property "X9" in the suite "source": expected some of S1, /],
  ])('refuses %s', async (args, message) => {
    const command = verifyCommand()
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
    await expect(command.parseAsync(args.split(' '), { from: 'user' })).rejects.toThrow(message)
  })

  it('says what is wrong where no subject can be made, after what was found until then', async () => {
    const [first, later] = await Promise.all([
      run(['verify', moduleOf("export const create = () => { throw new Error('no server') }")]),
      run([
        'verify',
        sourceModule("if (++made > 35) throw new Error('no more')", { before: 'let made = 0' }),
        ...inMemory,
      ]),
    ])
    expect(first).toMatchObject({ code: 1, stdout: '' })
    expect(first.stderr).toMatch(/^reflex-bridge: create\(\) failed: no server$/m)
    expect(later.code).toBe(1)
    expect(later.stdout).toMatch(/\nS1 +required +passed/)
    expect(later.stdout).toMatch(/\nNot looked at: S2, /)
    expect(later.stderr).toMatch(/^reflex-bridge: create\(\) failed: no more$/m)
  })

  it('says what to install where fast-check is missing', async () => {
    const hide = `import { registerHooks } from 'node:module'
      registerHooks({ resolve(name, context, next) {
        if (name === 'fast-check') throw Object.assign(new Error("Cannot find package 'fast-check'"), { code: 'ERR_MODULE_NOT_FOUND' })
        return next(name, context) } })`
    const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hide)}` }
    const [verified, listed] = await Promise.all([
      run(['verify', sourceModule()], { env }),
      run(['verify', '--list'], { env }),
    ])
    for (const { code, stdout, stderr } of [verified, listed]) {
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
      expect(stderr).toMatch(/^reflex-bridge: the package fast-check is needed .*npm install --save-dev fast-check\n$/)
    }
  })
})

/** Three at a time: more processes would only be in each other's way. */
async function inTurns<T>(cases: readonly T[], check: (each: T) => Promise<void>): Promise<void> {
  const left = [...cases].reverse()
  const some = async (): Promise<void> => {
    for (let next = left.pop(); next !== undefined; next = left.pop()) await check(next)
  }
  await Promise.all([some(), some(), some()])
}

/** Every element is closed in order, and nothing is loaded or run. */
function checkPage(html: string): void {
  expect(html).toMatch(/^<!doctype html>\n<html lang="en">/)
  expect(html).not.toMatch(/<script|<link|<img|<iframe|\bsrc=|url\(|@import|\bon\w+=/i)
  expect(html).toContain('prefers-color-scheme: dark')
  const open: string[] = []
  for (const [, slash, name = ''] of html
    .replace(/<style>[\s\S]*?<\/style>/, '')
    .matchAll(/<(\/?)([a-z][a-z0-9]*)\b[^<>]*>/g)) {
    if (name === 'meta') continue
    if (slash === '') open.push(name)
    else expect(open.pop()).toBe(name)
  }
  expect(open).toEqual([])
  const ids = [...html.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id)
  for (const [, target] of html.matchAll(/href="#([^"]*)"/g)) expect(ids).toContain(target)
  expect(new Set(ids).size).toBe(ids.length)
}
