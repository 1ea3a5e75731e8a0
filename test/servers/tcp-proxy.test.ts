import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { until } from './processes.ts'

/** A server that answers every chunk with the same bytes, and keeps what it got. */
async function echoServer() {
  const received: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {}).on('close', () => sockets.delete(socket))
    socket.on('data', (chunk) => {
      received.push(chunk.toString())
      socket.write(chunk)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const close = async () => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  }
  return {
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    received,
    sockets,
    [Symbol.asyncDispose]: close,
  }
}

function client(port: number) {
  const socket = connect({ host: '127.0.0.1', port, noDelay: true })
  const replies: string[] = []
  let failure: NodeJS.ErrnoException | undefined
  let ended = false
  socket.on('data', (chunk) => replies.push(chunk.toString()))
  socket.on('end', () => {
    ended = true
  })
  socket.on('error', (error) => {
    failure = error
  })
  return {
    socket,
    replied: () => replies.join(''),
    failed: () => failure?.code,
    ended: () => ended,
    [Symbol.dispose]: () => {
      socket.destroy()
    },
  }
}

test('bytes and the end of a connection pass both ways', async () => {
  await using target = await echoServer()
  await using proxy = await tcpProxy(target)
  using one = client(proxy.port)
  one.socket.write('hello')
  await until(() => one.replied() === 'hello')
  expect(proxy.connections).toBe(1)
  one.socket.end()
  await until(() => one.ended() && proxy.connections === 0)
  expect(target.sockets.size).toBe(0)
})

test('a large transfer arrives whole', async () => {
  await using target = await echoServer()
  await using proxy = await tcpProxy(target)
  using one = client(proxy.port)
  one.socket.write('x'.repeat(5_000_000))
  await until(() => one.replied().length === 5_000_000)
})

test('cut resets open connections and new ones until restore', async () => {
  await using target = await echoServer()
  await using proxy = await tcpProxy(target)
  using open = client(proxy.port)
  open.socket.write('a')
  await until(() => open.replied() === 'a')
  proxy.cut()
  await until(() => open.failed() === 'ECONNRESET')
  using refused = client(proxy.port)
  await until(() => refused.failed() !== undefined)
  expect(proxy.connections).toBe(0)
  await until(() => target.sockets.size === 0)
  proxy.restore()
  using again = client(proxy.port)
  again.socket.write('b')
  await until(() => again.replied() === 'b')
})

test('stall keeps connections open and silent, and loses nothing', async () => {
  await using target = await echoServer()
  await using proxy = await tcpProxy(target)
  using open = client(proxy.port)
  open.socket.write('a')
  await until(() => open.replied() === 'a')
  proxy.stall()
  open.socket.write('b')
  using late = client(proxy.port)
  late.socket.write('c')
  await setTimeout(150) // silence has no event to wait for
  expect([open.replied(), late.replied(), open.failed(), late.failed(), target.received.join('')]).toEqual([
    'a',
    '',
    undefined,
    undefined,
    'a',
  ])
  proxy.restore()
  await until(() => open.replied() === 'ab' && late.replied() === 'c')
})

test('stallReplies lets requests through, drops their replies, and restore resets what lost bytes', async () => {
  await using target = await echoServer()
  await using proxy = await tcpProxy(target)
  using asking = client(proxy.port)
  using quiet = client(proxy.port)
  quiet.socket.write('q')
  await until(() => quiet.replied() === 'q')
  proxy.stallReplies()
  asking.socket.write('a')
  await until(() => target.received.includes('a'))
  await setTimeout(100)
  expect(asking.replied()).toBe('')
  proxy.restore()
  await until(() => asking.failed() === 'ECONNRESET')
  quiet.socket.write('r')
  await until(() => quiet.replied() === 'qr')
})

test('a target that is down resets the connection', async () => {
  const target = await echoServer()
  await using proxy = await tcpProxy(target)
  await target[Symbol.asyncDispose]()
  using one = client(proxy.port)
  await until(() => one.failed() === 'ECONNRESET')
})

test('disposing ends the proxy with its connections', async () => {
  await using target = await echoServer()
  const proxy = await tcpProxy(target)
  using open = client(proxy.port)
  open.socket.write('a')
  await until(() => open.replied() === 'a')
  await proxy[Symbol.asyncDispose]()
  await proxy[Symbol.asyncDispose]()
  await until(() => open.failed() === 'ECONNRESET')
  using refused = client(proxy.port)
  await until(() => refused.failed() === 'ECONNREFUSED')
})
