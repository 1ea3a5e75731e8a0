import { execFileSync } from 'node:child_process'
import { resolve } from 'node:path'
import { expect, it } from 'vitest'
import { compositions } from '../../examples/grpc-compositions/grpc-compositions.ts'

const orders = ['order-1', 'order-2', 'order-3']
const all = {
  'local cursors, remote stream': orders,
  'remote cursors, local stream': orders,
  'remote cursors, remote stream': orders,
}

it('streams and cursors are put together as one likes, and each consumer handles every event once', async () => {
  expect(await compositions()).toEqual(all)
})

it('the example runs by itself, and ends', () => {
  const file = resolve('examples/grpc-compositions/grpc-compositions.ts')
  const printed = execFileSync(process.execPath, ['--conditions=reflex-bridge-source', file], {
    encoding: 'utf8',
    timeout: 20_000,
  })
  for (const name of Object.keys(all)) expect(printed).toContain(name)
})
