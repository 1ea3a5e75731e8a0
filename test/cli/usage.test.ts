import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { argv, events, insertInto, newFolder, run } from './command.ts'

/** Wrong input: exit code 2, one line on stderr, nothing on stdout, no stack trace. */
async function expectRefused(args: readonly string[], message: RegExp, cwd = newFolder()): Promise<void> {
  const { code, stdout, stderr } = await run(args, { cwd })
  expect(stderr).toMatch(message)
  expect(stderr).toMatch(/^reflex-bridge: [^\n]+\n$/)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
}

describe('the command line', () => {
  it('prints its version', async () => {
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }
    expect(await run(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  })

  it('has help with examples for everything', async () => {
    const [all, ofRun, ofTail, ofTailToo] = await Promise.all([
      run(['--help']),
      run(['run', '--help']),
      run(['tail', '--help']),
      run(['help', 'tail']),
    ])
    for (const { code, stdout, stderr } of [all, ofRun, ofTail, ofTailToo]) {
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).toMatch(/^Usage: reflex-bridge/)
      expect(stdout).toContain('Examples:\n  $ ')
    }
    for (const command of ['run', 'check', 'status', 'verify', 'reset', 'replay', 'tail', 'demo'])
      expect(all.stdout).toContain(`\n  ${command} `)
    expect(ofTailToo.stdout).toBe(ofTail.stdout)
  })

  it('prints help and exits with 2 without a command', async () => {
    const { code, stdout, stderr } = await run([])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(/^Usage: reflex-bridge/)
  })

  it('refuses commands, arguments and options that there are not', async () => {
    await Promise.all([
      expectRefused(['rum'], /unknown command 'rum' \(Did you mean run\?\)/),
      expectRefused(['run'], /missing required argument 'config'/),
      expectRefused(['run', 'a.yaml', 'b.yaml'], /too many arguments/),
      expectRefused(['run', 'a.yaml', '--onse'], /unknown option '--onse' \(Did you mean --once\?\)/),
      expectRefused(['tail'], /missing required argument 'url'/),
      expectRefused(['dlq', 'list'], /missing required argument 'config'/),
    ])
    await Promise.all([
      expectRefused(['tail', 'sqlite:a.db', '--after'], /'--after <cursor>' argument missing/),
      expectRefused(['tail', 'sqlite:a.db', '--types', '1,x'], /expected 32-bit integers.*"1,x"/),
      expectRefused(['tail', 'sqlite:a.db', '--types', '4294967296'], /expected 32-bit integers/),
      expectRefused(['tail', 'sqlite:a.db', '--limit', '0'], /expected a whole number from 1 on, found "0"/),
      expectRefused(
        ['tail', 'sqlite:a.db', '--after', '1', '--from-head'],
        /expected --after or --from-head, found both/,
      ),
    ])
  })

  it('refuses URLs that cannot be read', async () => {
    await Promise.all([
      expectRefused(['tail', 'shop.db'], /expected a URL like kafka:.* or redis:.* or sqlite:PATH, found no scheme/),
      expectRefused(['tail', 'amqp://app:hunter2@h/x'], /expected a URL like .*, found amqp:/),
      expectRefused(['tail', 'mysql://h'], /expected the name of a database/),
      expectRefused(['tail', 'redis://h'], /\?key=… in the URL: expected a string, found nothing/),
    ])
    await Promise.all([
      expectRefused(['tail', 'redis://h?kee=a'], /kee.*: unknown key: did you mean key\?/),
      expectRefused(['tail', 'sqlite:a.db?table=a-b'], /letters, digits and _/),
      expectRefused(['tail', 'sqlite:missing.db'], /there is no file .*missing\.db/),
      expectRefused(['run', 'missing.yaml'], /^reflex-bridge: missing\.yaml: there is no such file/),
    ])
  })

  it('refuses a wrong configuration with all that is wrong in it', async () => {
    const cwd = newFolder()
    writeFileSync(
      join(cwd, 'bridge.yaml'),
      'routes:\n  a:\n    source: { url: sqlite:a.db }\n    sinc: { url: sqlite:b.db }\n',
    )
    const { code, stdout, stderr } = await run(['run', 'bridge.yaml'], { cwd })
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr.split('\n')).toEqual([
      'reflex-bridge: bridge.yaml: 2 errors',
      '  routes.a.sink: expected a mapping with a url, found nothing (line 2)',
      '  routes.a.sinc: unknown key: did you mean sink? (line 4)',
      '',
    ])
  })

  it('prints stack traces only when it is asked to', async () => {
    const cwd = newFolder()
    insertInto(join(cwd, 'a.db'), 'events', events(1))
    const args = ['tail', 'sqlite:a.db?table=other', '--to-head']
    const [plain, debug] = await Promise.all([run(args, { cwd }), run(['--debug', ...args], { cwd })])
    expect(plain.stderr).toMatch(/^reflex-bridge: [^\n]*no table other[^\n]*\n$/)
    expect(debug.stderr).toMatch(/no table other[^\n]*\n {4}at /)
    expect([plain.code, debug.code]).toEqual([1, 1])
  })

  it.runIf(existsSync('/dev/full'))('says in a line that its output cannot be written, as on a full disk', () => {
    const full = openSync('/dev/full', 'w')
    const [node, ...rest] = argv as [string, ...string[]]
    const { status, stderr } = spawnSync(node, [...rest, '--version'], { stdio: ['ignore', full, 'pipe'] })
    closeSync(full)
    expect(`${stderr}`).toMatch(/^reflex-bridge: the output cannot be written: ENOSPC[^\n]*\n$/)
    expect(status).toBe(1)
  })

  it('says which Node it needs on an older one', async () => {
    const old = `Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '20.19.0' } })`
    const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(old)}` }
    const { code, stdout, stderr } = await run(['--version'], { env })
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^reflex-bridge: this needs Node 22\.22 or newer, but this is Node 20\.19\.0: [^\n]*\n$/)
  })

  it('says what to install where a client is missing', async () => {
    const hide = `import { registerHooks } from 'node:module'
      registerHooks({ resolve(name, context, next) {
        if (['ioredis', 'mysql2/promise'].includes(name)) throw Object.assign(new Error('not found'), { code: 'ERR_MODULE_NOT_FOUND' })
        return next(name, context) } })`
    const env = { NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(hide)}` }
    const [redis, mysql] = await Promise.all([
      run(['tail', 'redis://127.0.0.1?key=a'], { env }),
      run(['tail', 'mysql://127.0.0.1/a'], { env }),
    ])
    expect(redis).toMatchObject({ code: 1, stderr: expect.stringMatching(/npm install ioredis\n$/) })
    expect(mysql).toMatchObject({ code: 1, stderr: expect.stringMatching(/npm install mysql2\n$/) })
  })
})
