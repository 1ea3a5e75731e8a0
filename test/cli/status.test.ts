import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { events, insertInto, jsonLines, newFolder, run, start } from './command.ts'
import { forwardAll } from './forward-all.ts'

/** A folder in which the route `orders` has forwarded 5 of 8 events, and a second route whose source is not there. */
async function shop(): Promise<string> {
  const folder = newFolder()
  const write = (text: string): void => writeFileSync(join(folder, 'bridge.yaml'), text)
  insertInto(join(folder, 'shop.db'), 'events', events(5))
  const orders = 'orders: { source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: log } }'
  write(`createTables: true\nroutes:\n  ${orders}\n`)
  await forwardAll(join(folder, 'bridge.yaml'))
  insertInto(join(folder, 'shop.db'), 'events', events(3, 5))
  write(
    `routes:\n  gone: { source: { url: sqlite:gone.db }, sink: { url: sqlite:log.db }, checkpoints: { url: sqlite:shop.db } }\n  ${orders}\n`,
  )
  return folder
}

describe('status', () => {
  it('says where each route stands while no process runs, one that cannot be asked as well', async () => {
    const cwd = await shop()
    const [text, json, one] = await Promise.all([
      run(['status', 'bridge.yaml'], { cwd }),
      run(['status', 'bridge.yaml', '--json'], { cwd }),
      run(['status', 'bridge.yaml', 'orders'], { cwd }),
    ])
    expect([text.code, json.code, one.code]).toEqual([1, 1, 0])
    const lines = text.stdout.replaceAll(cwd, '').split('\n')
    expect(lines[0]).toBe('gone: FAILED')
    expect(text.stdout).toContain('source: FAILED: there is no file')
    expect(lines.slice(lines.indexOf('orders: behind'))).toEqual([
      'orders: behind',
      '  sqlite:/shop.db?table=events -> sqlite:/log.db?table=log',
      expect.stringMatching(/^ {2}checkpoint 5, head 8, backlog 3 positions, the oldest waits \d/),
      '',
    ])
    const [gone, orders] = jsonLines(json.stdout)
    expect(gone).toMatchObject({
      route: 'gone',
      problems: [{ part: 'sink' }, { part: 'source', code: 'FILE_MISSING' }],
    })
    expect(orders).toMatchObject({
      ...{ route: 'orders', checkpoint: '5', head: '8', backlog: { count: '3', unit: 'positions' } },
      ...{ oldestUnreadMs: expect.any(Number), wanted: null, owner: null, problems: [] },
    })
  })

  it('says what operators want, and that all is forwarded', async () => {
    const cwd = await shop()
    expect((await run(['run', 'bridge.yaml', '--once', '--create-tables'], { cwd })).stdout).toContain('3 events')
    expect((await run(['pause', 'bridge.yaml', 'orders', '--wait', '0'], { cwd })).code).toBe(0)
    const { stdout } = await run(['status', 'bridge.yaml', 'orders', '--json'], { cwd })
    expect(jsonLines(stdout)).toMatchObject([
      { backlog: { count: '0' }, wanted: { wanted: 'paused' }, checkpoint: '8' },
    ])
    const { stdout: text } = await run(['status', 'bridge.yaml', 'orders'], { cwd })
    expect(text).toMatch(/^orders: paused\n[\s\S]*paused is wanted by .* not obeyed yet\n$/)
  })

  it('says so again with --watch, until Ctrl-C', async () => {
    const cwd = await shop()
    const watching = start(['status', 'bridge.yaml', 'orders', '--watch', '--json'], { cwd })
    await watching.printed(/"head":"8"/)
    insertInto(join(cwd, 'shop.db'), 'events', events(1, 8))
    await watching.printed(/"head":"9"/)
    watching.child.kill('SIGINT')
    expect(await watching.ended).toMatchObject({ code: 0, stderr: '' })
  })
})
