import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, inject, it } from 'vitest'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { events, insertInto, jsonLines, newFolder, run, start } from './command.ts'
import { redisLog } from './logs.ts'

it('abandons what a frozen destination does not confirm in time, exits with 0, and nothing is lost or twice', async () => {
  const { redis } = inject('servers')
  await using proxy = await tcpProxy({ host: redis.host, port: redis.port })
  const sink = await redisLog()
  const cwd = newFolder()
  insertInto(join(cwd, 'shop.db'), 'events', events(2))
  const route = { source: { url: 'sqlite:shop.db' }, sink: { url: `redis://127.0.0.1:${proxy.port}`, ...sink.keys } }
  const config = { createTables: true, drainMs: 60_000, routes: { orders: route } }
  writeFileSync(join(cwd, 'bridge.json'), JSON.stringify(config))
  const running = start(['run', 'bridge.json', '--drain', '300'], { cwd })
  while ((await sink.read()).length < 2) expect(running.child.exitCode).toBeNull()
  proxy.stallReplies()
  insertInto(join(cwd, 'shop.db'), 'events', events(1, 2))
  while ((await sink.read()).length < 3) expect(running.child.exitCode).toBeNull() // it waits to hear of the third
  insertInto(join(cwd, 'shop.db'), 'events', events(1, 3))
  const toldAt = performance.now()
  running.child.kill('SIGTERM')
  const { code, stdout } = await running.ended
  expect(performance.now() - toldAt).toBeLessThan(3000) // it would notice by itself after 4 s
  expect(code).toBe(0)
  const lines = jsonLines(stdout)
  expect(lines.find(({ code }) => code === 'DRAIN_EXCEEDED')).toMatchObject({
    ...{ level: 'warn', route: 'orders' },
    msg: expect.stringContaining('was not confirmed within 300 ms and was abandoned'),
  })
  expect(lines.at(-1)?.['msg']).toBe('stopped: 2 events forwarded')

  proxy.restore()
  expect((await run(['run', 'bridge.json', '--once'], { cwd })).code).toBe(0)
  expect((await sink.read()).map(({ headers }) => headers['reflex-source-id'])).toEqual(['1', '2', '3', '4'])
})
