import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { eventually } from '../tools/reader.ts'
import { type ResourceScope, resourceScope } from '../tools/resource-scope.ts'

let server: Server
let scope: ResourceScope

beforeEach(async () => {
  server = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  scope = resourceScope()
})
afterEach(() => {
  scope[Symbol.dispose]()
  server.close()
})

async function connected(): Promise<Socket> {
  const { port } = server.address() as { port: number }
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  return socket
}

const isEmpty = (): Promise<void> => eventually(() => scope.open().length === 0, 1000, 'nothing is open')

describe('what is left open is found, and where it was opened', () => {
  test('a socket, until it is closed', async () => {
    const socket = await scope.run(connected)
    expect(scope.open()).toEqual([expect.stringMatching(/^TCPWRAP .*connected/)])
    socket.destroy()
    await isEmpty()
  })

  test('a socket that is opened by a callback of another one', async () => {
    const first = await scope.run(async () => {
      const socket = await connected()
      socket.once('close', () => void connected().then((second) => opened.resolve(second)))
      return socket
    })
    const opened = Promise.withResolvers<Socket>()
    first.destroy()
    const second = await opened.promise
    await eventually(() => scope.open().length === 1, 1000, 'one is open')
    second.destroy()
    await isEmpty()
  })

  test('a timer, referenced or not, until it is over or cleared', async () => {
    const timers = scope.run(() => [setTimeout(() => {}, 60_000), setTimeout(() => {}, 60_000).unref()])
    scope.run(() => setTimeout(() => {}, 1))
    scope.run(() => AbortSignal.timeout(60_000))
    await eventually(() => scope.open().length === 3, 1000, 'three are open')
    expect(scope.open().every((line) => line.startsWith('Timeout '))).toBe(true)
    for (const timer of timers) clearTimeout(timer)
    await eventually(() => scope.open().length === 1, 1000, 'the signal has its timer')
  })

  test('a timer of a callback of a timer', async () => {
    scope.run(() => setTimeout(() => setInterval(() => {}, 1000).unref(), 1))
    await eventually(() => scope.open().length === 1, 1000, 'the second is open')
  })

  test('a thread', async () => {
    const worker = scope.run(() => new Worker('setInterval(() => {}, 1000)', { eval: true }))
    expect(scope.open().some((line) => line.startsWith('WORKER '))).toBe(true)
    await worker.terminate()
    await isEmpty()
  })
})

test('what others open is not counted', async () => {
  await using stack = new AsyncDisposableStack()
  const theirs = await connected()
  stack.defer(() => void theirs.destroy())
  const timer = setInterval(() => {}, 1000)
  stack.defer(() => clearInterval(timer))
  const outside = await scope.run(async () => await scope.outside(connected))
  stack.defer(() => void outside.destroy())
  expect(scope.open()).toEqual([])
})
