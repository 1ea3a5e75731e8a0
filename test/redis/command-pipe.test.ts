import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import { inspect } from 'node:util'
import { Worker } from 'node:worker_threads'
import { expect, onTestFinished, test } from 'vitest'
import { commandPipe } from '../../src/adapters/redis/protocol/command-pipe.ts'
import { decodeReplies } from '../../src/adapters/redis/protocol/decode-replies.ts'
import { messageOf } from '../../src/core/errors.ts'
import { errorOf } from '../tools/reader.ts'

/** A socket to a server that calls `onCommand` with each command that comes, and the way back. */
async function serverThat(onCommand: (command: string[], socket: Socket) => void): Promise<Socket> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    const decode = decodeReplies((command) => onCommand((command as Buffer[]).map(String), socket))
    socket.on('data', decode)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = await connected((server.address() as AddressInfo).port)
  onTestFinished(() => void server.close())
  return socket
}

async function connected(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.on('error', () => {}) // as the client listens for it
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return socket
}

test('commands of one turn are one write, in which bytes are not copied', async () => {
  const writes: unknown[][] = []
  const socket = new Duplex({
    decodeStrings: false,
    read: () => {},
    writev: (chunks, done) => {
      writes.push(chunks.map(({ chunk }) => chunk as unknown))
      done()
    },
  })
  const send = commandPipe(socket as Socket, { replyWithinMs: undefined })
  const large = Buffer.alloc(1_000_000)
  const replies = Promise.all([send('MULTI', []), send('SET', ['key', large]), send('EXEC', [])])
  await pause(0)
  expect(writes).toHaveLength(1)
  expect(writes[0]).toContain(large)
  socket.push('+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n')
  expect(await replies).toEqual([Buffer.from('OK'), Buffer.from('QUEUED'), [Buffer.from('OK')]])
})

test('a reply that does not come in time is an error; when it comes it is nobody else’s', async () => {
  const socket = await serverThat(([command, text], socket) => {
    if (command === 'ECHO') socket.write(`+late\r\n+${text}\r\n`)
  })
  const send = commandPipe(socket, { replyWithinMs: 200 })
  const started = performance.now()
  expect(messageOf(await errorOf(send('SLOW', [])))).toBe('no reply to SLOW within 200 ms')
  expect(performance.now() - started).toBeGreaterThan(190)
  expect(String(await send('ECHO', ['a']))).toBe('a')
})

test('a reply that came while the event loop stood still is no late one', async () => {
  // In a thread of its own, which the stop does not stop. The reply is longer than what the sockets between hold.
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads')
     require('node:net').createServer((socket) => {
       socket.on('error', () => {})
       socket.on('data', () => setTimeout(() => socket.write('$10000000\\r\\n' + 'x'.repeat(10000000) + '\\r\\n'), 50))
     }).listen(0, '127.0.0.1', function () { parentPort.postMessage(this.address().port) })`,
    { eval: true },
  )
  onTestFinished(async () => void (await worker.terminate()))
  const [port] = (await once(worker, 'message')) as [number]
  const send = commandPipe(await connected(port), { replyWithinMs: 2000 })
  const reply = send('GET', ['key'])
  await pause(0) // it is sent
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3000)
  expect(((await reply) as Buffer).length).toBe(10_000_000)
})

test('an error reply has the name of its command, and none of its arguments', async () => {
  const socket = await serverThat((_, socket) => void socket.write('-NOPERM no\r\n'))
  const error = await errorOf(commandPipe(socket, { replyWithinMs: undefined })('AUTH', ['a secret']))
  expect(error).toMatchObject({ message: 'NOPERM no', command: { name: 'AUTH' } })
  expect(inspect(error, { depth: 10 })).not.toContain('a secret')
})

test('when the socket closes, what is pending and what is sent then is rejected', async () => {
  const socket = await serverThat((_, socket) => void socket.destroy())
  const send = commandPipe(socket, { replyWithinMs: 60_000 })
  for (const sending of [send('GET', ['a']), send('GET', ['b'])])
    expect(messageOf(await errorOf(sending))).toMatch(/the connection was closed|ECONNRESET/)
  expect(messageOf(await errorOf(send('GET', ['c'])))).toMatch(/the connection was closed|ECONNRESET/)
})

test.each([
  ['what is not the protocol', 'HTTP/1.1 400 Bad Request\r\n', "not in Redis's protocol"],
  ['a reply to no command', '+OK\r\n+OK\r\n', 'to no command'],
])('%s closes the socket, and the next command is told why', async (_, reply, message) => {
  const socket = await serverThat((_, socket) => void socket.write(reply))
  const send = commandPipe(socket, { replyWithinMs: undefined })
  await send('GET', ['a']).catch(() => {})
  if (!socket.closed) await once(socket, 'close')
  expect(messageOf(await errorOf(send('GET', ['b'])))).toContain(message)
})
