import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { memoryLog } from '../../src/core/memory-log.ts'
import { eventStream, type Source } from '../../src/core/stream.ts'
import type { ServerProcess } from '../../src/testing/servers/index.ts'
import { errorOf } from '../tools/reader.ts'
import { type Countable, playLifetime } from './stage.ts'

const noServer = { server: {} as ServerProcess }

/** A source that is closed once; `leak` is called with each stream that is opened. */
function leaky(leak: (signal: AbortSignal) => unknown): Countable & { readonly source: Source } {
  const { source } = memoryLog()
  return {
    source: {
      ...source,
      stream: async (after, options) => {
        const stream = await source.stream(after, options)
        await leak(options.signal as AbortSignal)
        return eventStream(stream, () => stream[Symbol.asyncDispose](), options)
      },
    },
  }
}

async function play(subject: Countable & { readonly source: Source }): Promise<string> {
  const playing = playLifetime(
    subject,
    async ({ close, caller }) => close(await subject.source.stream('', caller())),
    noServer,
  )
  return String(await errorOf(playing))
}

test('a source that leaves nothing passes', async () => {
  await expect(play(leaky(() => {}))).rejects.toThrow('expected the error, but it resolved')
})

test.concurrent.each<[string, RegExp, (signal: AbortSignal) => unknown]>([
  ['a timer', /left after .*\nTimeout at .*planted-leaks/s, () => clearedAtEnd(setInterval(() => {}, 1000))],
  ['a timer that keeps no process', /\nTimeout /, () => clearedAtEnd(setInterval(() => {}, 1000).unref())],
  ["a listener on the caller's signal", /listener/, (signal) => signal.addEventListener('abort', () => {})],
  ['a socket', /\nTCPWRAP /, connected],
])('%s that a closed stream leaves is found', async (_, told, leak) => {
  expect(await play(leaky(leak))).toMatch(told)
})

test('a connection that the server has of a closed stream is found', async () => {
  let open = 0
  const subject = { ...leaky(() => open++), connections: async () => open }
  expect(await play(subject)).toMatch(/on the server/)
})

test('a close that takes too long is found', async () => {
  const stuck = eventStream(
    { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) },
    () => new Promise<never>(() => {}),
  )
  const playing = playLifetime({}, ({ close }) => close(stuck), noServer)
  expect(String(await errorOf(playing))).toMatch(/the close took longer/)
})

function clearedAtEnd(timer: NodeJS.Timeout): void {
  onTestFinished(() => clearInterval(timer))
}

async function connected(): Promise<void> {
  const server = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  onTestFinished(() => {
    socket.destroy()
    server.close()
  })
}
