import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openSqlite } from '../../src/adapters/sqlite/index.ts'
import { formatTimestamp } from '../../src/core/wire.ts'
import { argv, events, insertInto, jsonLines, newFolder, run, start } from './command.ts'
import { jetstreamLog, kafkaLog, mysqlLog, redisLog, sqliteLog, type TestLog } from './logs.ts'

const payloads = [
  { type: 1, foreignId: 'order-1', metadata: Buffer.from('{"total":1}'), timestamp: 1_700_000_000_000.25 },
  { type: 2, foreignId: 'an order', metadata: Buffer.from([0xff, 0, 0xfe]), headers: { trace: 'é', many: ['a', 'b'] } },
  { type: -3, foreignId: 'order\n\x1b[31m3', metadata: Buffer.from('line\nbreak\x1b[2J') },
  { type: 1, foreignId: 'order-4', metadata: null },
  { type: 1, foreignId: 'order-5', metadata: Buffer.from('') },
]

/** Without the incarnations of the cursors in it. */
const bare = (printed: string): string => printed.replaceAll(/@[^\s)]+/g, '')

describe.each<[string, () => TestLog | Promise<TestLog>, badCursor: string, ahead: string]>([
  ['SQLite', sqliteLog, '1-0', '99'],
  ['MySQL', mysqlLog, '1-0', '99'],
  ['Redis', redisLog, 'x', '9999999999999-0'],
  ['Kafka', kafkaLog, 'x', '99'],
  ['JetStream', jetstreamLog, 'x', '99'],
])('tail of %s', (_, makeLog, badCursor, ahead) => {
  it('prints every event in JSON, and the cursor', async () => {
    const log = await makeLog()
    await log.append(payloads)
    const stored = await log.read()
    const { code, stdout, stderr } = await run(['tail', log.url, '--to-head', '--json'])
    expect(code).toBe(0)
    expect(jsonLines(stdout)).toEqual(
      stored.map(({ id, type, foreignId, timestamp, headers }, i) => ({
        id,
        type,
        foreignId,
        timestamp: formatTimestamp(timestamp),
        headers,
        ...[
          { metadata: '{"total":1}' },
          { metadata: '/wD+', metadataEncoding: 'base64' },
          { metadata: 'line\nbreak\x1b[2J' },
          { metadata: null },
          { metadata: '' },
        ][i],
      })),
    )
    expect(jsonLines(stdout)[0]?.['timestamp']).toBe('2023-11-14T22:13:20.000250Z')
    const last = stored.at(-1)?.id
    expect(bare(stderr)).toBe(`last cursor: ${last} (go on with --after ${last})\n`)
  })

  it('prints an event a line for people, and nothing that acts on a terminal', async () => {
    const log = await makeLog()
    await log.append(payloads)
    const { stdout } = await run(['tail', log.url, '--to-head'])
    const lines = stdout.split('\n')
    expect(lines).toHaveLength(payloads.length + 1)
    expect(lines[0]).toMatch(/^2023-11-14T22:13:20\.000250Z {2}\S+ {2}type 1 {2}order-1 {2}\{"total":1\}/)
    expect(lines[1]).toMatch(/ {2}type 2 {2}"an order" {2}base64 \/wD\+ {2}\{.*"trace":"é".*\}$/)
    expect(lines[2]).toMatch(/ {2}type -3 {2}"order\\n\\u001b\[31m3" {2}line\\nbreak\\u001b\[2J/)
    expect(lines[3]).toMatch(/ {2}order-4 {2}null/)
    expect(lines[4]).toMatch(/ {2}order-5 {2}""/)
    expect(stdout).not.toContain('\x1b')
  })

  it('goes on after a cursor, stops at a limit and selects types', async () => {
    const log = await makeLog()
    await log.append(events(6))
    const ids = (await log.read()).map(({ id }) => id)
    const tail = async (...args: string[]): Promise<unknown[]> => {
      const { code, stdout, stderr } = await run(['tail', log.url, '--to-head', '--json', ...args])
      expect(code).toBe(0)
      const cursor = /^last cursor: (\S+) \(go on with --after \1\)\n$/.exec(stderr)?.[1] ?? ''
      return [jsonLines(stdout).map(({ id }) => id), bare(cursor)]
    }
    const [limited, after, both, types, nothing] = await Promise.all([
      tail('--limit', '2'),
      tail('--after', ids[1] as string),
      tail('--after', ids[1] as string, '--limit', '2'),
      tail('--types', '2,7'),
      tail('--after', ids[5] as string),
    ])
    expect(limited).toEqual([ids.slice(0, 2), ids[1]])
    expect(after).toEqual([ids.slice(2), ids[5]])
    expect(both).toEqual([ids.slice(2, 4), ids[3]])
    expect(types).toEqual([[ids[1], ids[3], ids[5]], ids[5]])
    expect(nothing).toEqual([[], ids[5]])
  })

  it('starts at the head, goes on with what comes, and ends cleanly with Ctrl-C', async () => {
    const log = await makeLog()
    await log.append(events(3))
    const [all, fresh] = [start(['tail', log.url, '--json']), start(['tail', log.url, '--json', '--from-head'])]
    await all.printed(/order-2/)
    // The one at the head has nothing to print before something comes: it is given events until one shows.
    for (let i = 3; fresh.stdout() === ''; i++) {
      await log.append(events(1, i))
      await Promise.race([fresh.printed(/order-/), all.printed(new RegExp(`order-${i}"`))])
    }
    const last = (await log.read()).at(-1)
    await Promise.all([all, fresh].map((each) => each.printed(new RegExp(`"id":"${last?.id}"`))))
    for (const { child } of [all, fresh]) child.kill('SIGINT')
    const [ofAll, ofFresh] = await Promise.all([all.ended, fresh.ended])
    const cursor = `last cursor: ${last?.id} (go on with --after ${last?.id})\n`
    for (const { code, stderr } of [ofAll, ofFresh]) expect([code, bare(stderr)]).toEqual([0, cursor])
    expect(
      jsonLines(ofAll.stdout)
        .slice(0, 3)
        .map(({ foreignId }) => foreignId),
    ).toEqual(['order-0', 'order-1', 'order-2'])
    expect(ofFresh.stdout).not.toMatch(/order-[012]"/)
  })

  it('ends with 0 when the reader of its output goes away', async () => {
    const log = await makeLog()
    await log.append(events(3000))
    const command = `${argv.join(' ')} tail '${log.url}' --json | head -n 1; exit \${PIPESTATUS[0]}`
    const shell = spawn('bash', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    let errors = ''
    shell.stdout.on('data', (chunk) => {
      output += chunk
    })
    shell.stderr.on('data', (chunk) => {
      errors += chunk
    })
    const [code] = await once(shell, 'close')
    expect({ code, errors }).toEqual({ code: 0, errors: '' })
    expect(jsonLines(output)).toMatchObject([{ foreignId: 'order-0' }])
  })

  it('refuses a cursor of another kind as wrong input, and fails on one that lies beyond the end', async () => {
    const log = await makeLog()
    await log.append(events(1))
    const [bad, beyond] = await Promise.all([
      run(['tail', log.url, '--after', badCursor]),
      run(['tail', log.url, '--after', ahead]),
    ])
    expect(bad).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining(`"${badCursor}" is not a cursor of this log`),
    })
    expect(beyond).toMatchObject({ code: 1, stdout: '', stderr: expect.stringContaining('lies beyond the end') })
    for (const { stderr } of [bad, beyond]) expect(stderr).toMatch(/^reflex-bridge: [^\n]*\n$/)
  })
})

describe('tail', () => {
  it('prints ids that are no safe integers', async () => {
    const path = join(newFolder(), 'log.db')
    insertInto(path, 'events', [])
    using database = openSqlite(path)
    database.exec("insert into events (id, foreign_id, timestamp, type) values (9007199254740993, 'x', 0, 1)")
    const { stdout, stderr } = await run(['tail', `sqlite:${path}`, '--to-head', '--json'])
    expect(stdout).toContain('"id":"9007199254740993"')
    expect(stderr).toContain('--after 9007199254740993)')
  })

  it('creates and changes nothing', async () => {
    const path = join(newFolder(), 'missing.db')
    const missing = await run(['tail', `sqlite:${path}`])
    expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining('there is no file') })
    expect((await run(['tail', `sqlite:${path}`])).stderr).toBe(missing.stderr)
  })

  it('encrypts, and refuses a certificate that is not to be trusted', async () => {
    const log = await mysqlLog()
    const [plain, encrypted, noFile] = await Promise.all(
      ['', '?tls=verify-identity', '?ca=missing.pem'].map((query) => run(['tail', `${log.url}${query}`, '--to-head'])),
    )
    expect(plain?.code).toBe(0)
    // Whatever the server has, it is not signed by a public authority.
    expect(encrypted).toMatchObject({ code: 1, stderr: expect.stringMatching(/certificate|secure connection/) })
    expect(noFile).toMatchObject({ code: 2, stderr: expect.stringMatching(/a file with certificates.*missing\.pem/) })
  })

  it('fails with 1 and without the password where no server answers', async () => {
    const [mysql, redis] = await Promise.all([
      run(['--debug', 'tail', 'mysql://app:hunter2@127.0.0.1:1/shop']),
      run(['--debug', 'tail', 'redis://app:hunter2@127.0.0.1:1?key=a']),
    ])
    for (const { code, stdout, stderr } of [mysql, redis]) {
      expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
      expect(stderr).toContain('ECONNREFUSED')
      expect(stderr).not.toContain('hunter2')
    }
  })
})
