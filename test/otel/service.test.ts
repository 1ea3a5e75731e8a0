import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { insertInto, run, start } from '../cli/command.ts'
import { inTable, sqliteShop } from '../cli/sqlite-shop.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'
const traceparent = `00-${TRACE}-${PARENT}-01`

test('reflex-bridge run tells the SDK that it was started with of its routes', async () => {
  const cwd = sqliteShop(0)
  insertInto(join(cwd, 'shop.db'), 'events', [{ type: 1, foreignId: 'a', headers: { traceparent } }])
  const env = { NODE_OPTIONS: `--import ${resolve('test/otel/print-telemetry.ts')}` }
  const running = start(['run', 'bridge.yaml'], { cwd, env })
  await running.printed(/^metric reflex\.consumer\.handled_events \{"consumer_name":"orders"\} 1$/m)
  await running.printed(/^metric reflex\.consumer\.lag \{"consumer_name":"orders"\} 0$/m)
  await running.printed(/^metric reflex\.consumer\.backlog \{"consumer_name":"orders","unit":"positions"\} 0$/m)
  const [, spanId] = new RegExp(`^span send \\S+ ${TRACE} (\\S+) ${PARENT}$`, 'm').exec(running.stderr()) ?? []
  expect(running.stderr()).toContain(`${spanId} ${PARENT}`)
  running.child.kill('SIGTERM')
  expect((await running.ended).code).toBe(0)
  const [forwarded] = await inTable(join(cwd, 'log.db'), 'log')
  expect(forwarded?.headers['traceparent']).toBe(`00-${TRACE}-${spanId}-01`)
}, 30_000)

test('without an SDK it forwards the trace as it is', async () => {
  const cwd = sqliteShop(0)
  insertInto(join(cwd, 'shop.db'), 'events', [{ type: 1, foreignId: 'a', headers: { traceparent } }])
  expect(await run(['run', 'bridge.yaml', '--once'], { cwd })).toMatchObject({ code: 0, stderr: '' })
  const [forwarded] = await inTable(join(cwd, 'log.db'), 'log')
  expect(forwarded?.headers['traceparent']).toBe(traceparent)
})
