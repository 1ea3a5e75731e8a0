import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { events, insertInto, jsonLines, newFolder, run, start } from './command.ts'

function shop(port: number): string {
  const cwd = newFolder()
  insertInto(join(cwd, 'shop.db'), 'events', events(10))
  const route = { source: { url: 'sqlite:shop.db' }, sink: { url: 'sqlite:log.db' } }
  writeFileSync(
    join(cwd, 'bridge.json'),
    JSON.stringify({ createTables: true, admin: { port }, routes: { orders: route } }),
  )
  return cwd
}

it('serves the routes where the configuration says, and what is asked for there is seen by every process', async () => {
  const cwd = shop(0)
  const running = start(['run', 'bridge.json'], { cwd })
  await running.printed(/admin server at http/)
  const [, url] = /admin server at (http:\S+?)"/.exec(running.stdout()) ?? []
  const state = async (): Promise<Record<string, unknown>> => {
    const { routes } = (await (await fetch(`${url}routes`)).json()) as { routes: Record<string, unknown>[] }
    return routes[0] as Record<string, unknown>
  }
  while ((await state())['state'] !== 'running') expect(running.child.exitCode).toBeNull()
  expect(await state()).toMatchObject({ name: 'orders', sink: expect.stringContaining('log.db') })
  const answer = await fetch(`${url}routes/orders/pause`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
  })
  expect(answer.status).toBe(200)
  while ((await state())['state'] !== 'paused') expect(running.child.exitCode).toBeNull()
  const again = await run(['pause', 'bridge.json', '--json'], { cwd })
  expect(jsonLines(again.stdout)).toMatchObject([{ wanted: 'paused', by: expect.stringMatching(/^admin server of /) }])
  running.child.kill('SIGTERM')
  expect((await running.ended).code).toBe(0)
})

it('fails where it cannot listen, before it takes the routes from the process that may listen there', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const cwd = shop((taken.address() as AddressInfo).port)
  const { code, stdout, stderr } = await run(['run', 'bridge.json'], { cwd })
  taken.close()
  expect(code).toBe(1)
  expect(stderr).toMatch(/^reflex-bridge: .*EADDRINUSE/m)
  expect(stdout).toBe('')
  expect(existsSync(join(cwd, 'log.db'))).toBe(false)
  expect((await run(['run', 'bridge.json', '--once'], { cwd })).code).toBe(0) // it needs no port
})
