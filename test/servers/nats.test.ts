import { connect } from 'node:net'
import { expect, inject, test } from 'vitest'
import { type Address, startServer } from '../../src/testing/servers/index.ts'

/** Sends one request in the NATS text protocol and resolves with its reply. */
function request(address: Address, subject: string, body: string): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>()
  const socket = connect(address.port, address.host)
  let text = ''
  socket.on('error', reject).on('data', (chunk) => {
    text += chunk
    const reply = /MSG inbox 1 \d+\r\n(.*)\r\n/.exec(text)?.[1]
    if (reply !== undefined) resolve(JSON.parse(reply))
  })
  socket.write(
    `CONNECT {"verbose":false}\r\nSUB inbox 1\r\nPUB ${subject} inbox ${Buffer.byteLength(body)}\r\n${body}\r\n`,
  )
  return promise.finally(() => socket.destroy())
}

test('the shared nats has JetStream and says its version', async () => {
  const nats = inject('servers').nats
  expect(nats.version).toMatch(/^2\.\d+\.\d+/)
  expect(await request(nats, '$JS.API.INFO', '')).toMatchObject({ limits: expect.anything() })
})

test('after kill -9 nats starts again on the same port with its streams', async () => {
  await using nats = await startServer('nats', { from: ['docker', 'native'] })
  const created = await request(
    nats,
    '$JS.API.STREAM.CREATE.events',
    JSON.stringify({ name: 'events', subjects: ['events.>'] }),
  )
  expect(created).toMatchObject({ did_create: true })
  await nats.process?.kill()
  await nats.process?.start()
  expect(await request(nats, '$JS.API.STREAM.INFO.events', '')).toMatchObject({ config: { name: 'events' } })
})

test('the older column has NATS 2.9', { timeout: 300_000 }, async () => {
  await using nats = await startServer('nats', { from: ['docker', 'native'], column: 'older' })
  expect(nats.version).toMatch(/^2\.9\./)
})
