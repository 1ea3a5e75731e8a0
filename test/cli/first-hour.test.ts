import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { events, insertInto, jsonLines, newFolder, type Running, run, start } from './command.ts'

const CONFIG = `
createTables: true
admin: { port: 0 }
routes:
  orders:
    source: { url: 'sqlite:shop.db' }
    sink: { url: 'sqlite:log.db' }
`

/** The address of the admin server, once it listens. */
async function dashboardOf(running: Running): Promise<string> {
  await running.printed(/admin server at http/)
  return /admin server at (http:\S+?)"/.exec(running.stdout())?.[1] as string
}

it('a newcomer writes a configuration, checks it, runs it, looks at the dashboard, kills it, and finds everything there once', async () => {
  const cwd = newFolder()
  insertInto(join(cwd, 'shop.db'), 'events', events(1000))
  writeFileSync(join(cwd, 'bridge.yaml'), CONFIG.replace("'sqlite:shop.db'", "'sqlite:shop.db', tabel: events"))
  const wrong = await run(['check', 'bridge.yaml'], { cwd })
  expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('table')])

  writeFileSync(join(cwd, 'bridge.yaml'), CONFIG)
  const checked = await run(['check', 'bridge.yaml'], { cwd })
  expect([checked.code, checked.stdout]).toEqual([0, expect.stringMatching(/1 routes? right, 0 wrong\n$/)])

  const first = start(['run', 'bridge.yaml'], { cwd })
  const url = await dashboardOf(first)
  const page = await fetch(url)
  expect([page.status, await page.text()]).toEqual([200, expect.stringContaining('reflex-bridge')])
  expect((await fetch(`${url}readyz`)).status).toBe(200)
  first.child.kill('SIGKILL')
  await first.ended
  insertInto(join(cwd, 'shop.db'), 'events', events(500))

  const second = start(['run', 'bridge.yaml'], { cwd })
  const forwarded = async (): Promise<string> => (await fetch(`${await dashboardOf(second)}metrics`)).text()
  while (!/^reflex_consumer_backlog\{[^}]*\} 0$/m.test(await forwarded())) expect(second.child.exitCode).toBeNull()
  const verified = await run(['verify', 'bridge.yaml', '--to', 'head', '--json'], { cwd })
  expect([verified.code, jsonLines(verified.stdout)]).toMatchObject([
    0,
    [{ route: 'orders', ok: true, counts: { lost: 0, duplicated: 0, reordered: 0, different: 0 } }],
  ])
  second.child.kill('SIGTERM')
  expect((await second.ended).code).toBe(0)
})
