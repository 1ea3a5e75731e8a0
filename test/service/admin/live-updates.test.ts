import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { type LiveUpdates, liveUpdates } from '../../../src/service/admin/live-updates.ts'
import { ask } from './ask.ts'

/** A server whose every answer is joined to `live`, or is 503. */
async function serving(live: LiveUpdates) {
  const server = createServer((_, response) => {
    try {
      live.join(response, {})
    } catch {
      response.writeHead(503).end()
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    port,
    refuses: async () => (await ask(`http://127.0.0.1:${port}/`)).status === 503,
    [Symbol.dispose]: () => {
      live[Symbol.dispose]()
      server.closeAllConnections()
      server.close()
    },
  }
}

describe('updates for those who listen', () => {
  it('are not kept for one who does not read them: it loses its connection, and its place', async () => {
    let read = 0
    const update = async (): Promise<string> => {
      read++
      return 'x'.repeat(500_000)
    }
    const live = liveUpdates(update, { everyMs: 5, listeners: 1 })
    using server = await serving(live)
    const socket = connect(server.port, '127.0.0.1')
    socket.on('error', () => {}).pause()
    socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await expect.poll(() => read, { timeout: 5000 }).toBeGreaterThan(1)
    let before = 0
    const since = (): number => {
      const more = read - before
      before = read
      return more
    }
    await expect.poll(since, { timeout: 20_000, interval: 300 }).toBe(0) // nobody is left to read for
    expect(read * 500_000).toBeLessThan(100_000_000)
    socket.destroy()
  })

  it('end for good: who comes later is refused, and no timer is left', async () => {
    let read = 0
    const live = liveUpdates(async () => `${read++}`, { everyMs: 5, listeners: 1 })
    using server = await serving(live)
    live[Symbol.dispose]()
    expect(await server.refuses()).toBe(true)
    expect(read).toBe(0)
  })
})
