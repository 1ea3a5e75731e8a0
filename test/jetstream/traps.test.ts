import { jetstream } from '@nats-io/jetstream'
import { connect as connectV3 } from '@nats-io/transport-node'
import { connect as connectV2 } from 'nats'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import { jetstreamSink } from '../../src/adapters/jetstream/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { errorOf, eventually, within } from '../tools/reader.ts'
import { type ClientName, connector, ownServer } from './fixture.ts'
import { sourceLog } from './source-log.ts'

interface Messages extends AsyncIterable<{ readonly seq: number }> {
  stop(): void
}

interface Consumer {
  consume(options: object): Promise<Messages>
  fetch(options: object): Promise<Messages>
  delete(): Promise<boolean>
}

/** What both clients offer, as they document it. */
interface Raw {
  readonly connection: { isClosed(): boolean; close(): Promise<void> }
  /** An ordered consumer. */
  consumer(stream: string, options?: object): Promise<Consumer>
  publish(subject: string, options?: object): Promise<{ seq: number; duplicate: boolean }>
}

/** Makes a connection that ends with the test, with the client's own defaults. */
async function raw(client: ClientName, url = inject('servers').nats.url, options: object = {}): Promise<Raw> {
  const all = { servers: url, reconnect: false, ...options }
  if (client === '@nats-io v3') {
    const connection = await connectV3(all)
    onTestFinished(() => connection.close())
    const js = jetstream(connection)
    return {
      connection,
      consumer: async (stream, start = {}) => (await js.consumers.get(stream, start)) as Consumer,
      publish: (subject, how) => js.publish(subject, 'x', how),
    }
  }
  const connection = await connectV2(all)
  onTestFinished(() => connection.close())
  const js = connection.jetstream()
  return {
    connection,
    consumer: async (stream, start = {}) => (await js.consumers.get(stream, start)) as Consumer,
    publish: (subject, how) => js.publish(subject, Buffer.from('x'), how),
  }
}

const from = (seq: number): object => ({ deliver_policy: 'by_start_sequence', opt_start_seq: seq })

/** Reads on until `count` sequences have come. */
async function take(messages: Messages, count: number): Promise<number[]> {
  const taken: number[] = []
  for await (const { seq } of messages) {
    taken.push(seq)
    if (taken.length === count) break
  }
  return taken
}

const clients: readonly ClientName[] = ['@nats-io v3', 'nats 2.29']

describe.each(clients)('%s', (client) => {
  test('trap nats 1: the messages of a consumer end without an error, or never, when the connection closes', async () => {
    await using proxy = await tcpProxy(inject('servers').nats)
    const one = await sourceLog()
    await one.append(3)
    const url = `nats://127.0.0.1:${proxy.port}`
    const theirs = await raw(client, url)
    const messages = await (await theirs.consumer(one.stream)).consume({ expires: 2000, idle_heartbeat: 1000 })
    let read = 0
    let outcome = 'none'
    const reading = (async () => {
      for await (const _ of messages) read++
    })().then(
      () => (outcome = 'ended'),
      () => (outcome = 'failed'),
    )
    const ours = await one.open('', { connect: connector(client, url) })
    await ours.take(3)
    await eventually(() => read === 3, 5000, 'what is there')
    const waiting = errorOf(ours.take(1), 5000)
    proxy.cut()
    expect(codeOf(await waiting)).toBe('NATS_CONNECTION')
    await eventually(() => theirs.connection.isClosed(), 5000, 'the end of the connection')
    if (client === '@nats-io v3') await within(reading, 5000, 'the end of the messages')
    else await new Promise((resolve) => setTimeout(resolve, 1000)) // they do not even end
    expect(outcome).toBe(client === '@nats-io v3' ? 'ended' : 'none')
    messages.stop()
    await reading
  })

  test('trap nats 2: a start outside of what the stream has is changed to the first message, or waits; a purge under a consumer is silent', async () => {
    const one = await sourceLog()
    await one.append(60)
    await one.purge({ seq: 5 })
    const theirs = await raw(client)
    const connect = connector(client)
    expect(await take(await (await theirs.consumer(one.stream, from(2))).fetch({ max_messages: 1 }), 1)).toEqual([5])
    expect(codeOf(await errorOf(one.source({ connect }).stream('1', {})))).toBe('CURSOR_TRIMMED')

    const ahead = await (await theirs.consumer(one.stream, from(90))).fetch({ max_messages: 1, expires: 1000 })
    expect(await take(ahead, 1)).toEqual([])
    expect(await errorOf(one.source({ connect }).stream('89', {}))).toMatchObject({ code: 'CURSOR_AHEAD' })

    const messages = await (await theirs.consumer(one.stream, from(5))).consume({ max_messages: 2 })
    const ours = await one.open('4', { connect, batchSize: 2 })
    const read: string[] = []
    const theirSequences: number[] = []
    for await (const { seq } of messages) {
      theirSequences.push(seq)
      if (seq === 5) {
        await ours.take(1)
        // The client of 2.29 has all of them in memory by now, which is trap nats 5.
        await one.purge({ seq: 50 })
        await one.append(1)
      }
      if (seq === 61) break
    }
    expect(theirSequences).toEqual([...theirSequences].sort((a, b) => a - b))
    if (client === '@nats-io v3') expect(theirSequences.length).toBeLessThan(56) // without a word
    const error = await errorOf(
      (async () => {
        for (;;) read.push(...(await ours.take(1)).map(({ id }) => id))
      })(),
    )
    expect(codeOf(error)).toBe('CURSOR_TRIMMED')
    expect(read).toEqual(Array.from(read, (_, i) => String(6 + i)))
  })

  test('trap nats 3: an ordered consumer stays on the server for five minutes after its connection', async () => {
    const one = await sourceLog()
    await one.append(1)
    const theirs = await raw(client)
    const messages = await (await theirs.consumer(one.stream)).consume({})
    await messages[Symbol.asyncIterator]().next()
    await theirs.connection.close()
    messages.stop()
    const left = await one.consumers()
    expect(left).toHaveLength(1)
    expect(left[0]?.config).toMatchObject({ mem_storage: true, inactive_threshold: 300e9 })

    const ours = await one.open('', { connect: connector(client) })
    await ours.take(1)
    const own = (await one.consumers()).find(({ name }) => name !== left[0]?.name)
    expect(own?.config.inactive_threshold).toBeLessThan(30e9)
    await ours[Symbol.asyncDispose]()
    expect((await one.consumers()).map(({ name }) => name)).toEqual(left.map(({ name }) => name))
  })

  test('trap nats 3: a restart of the server loses an ordered consumer, and the client makes another one without a word', async () => {
    const server = await ownServer()
    const one = await sourceLog({}, server.url)
    await one.append(2)
    const theirs = await raw(client, server.url, { reconnect: true, reconnectTimeWait: 50 })
    const messages = await (await theirs.consumer(one.stream)).consume({ expires: 2000, idle_heartbeat: 1000 })
    const read: number[] = []
    const reading = (async () => {
      for await (const { seq } of messages) read.push(seq)
    })()
    const ours = await one.open('', { connect: connector(client, server.url) })
    await ours.take(2)
    await eventually(() => read.length === 2, 5000, 'what is there')
    const before = await one.consumers()
    const waiting = errorOf(ours.take(1), 5000)
    await server.process.kill()
    await server.process.start()
    expect(codeOf(await waiting)).toBe('NATS_CONNECTION')
    await one.append(1)
    await eventually(() => read.length === 3, 15_000, 'what came after the restart')
    expect(read).toEqual([1, 2, 3])
    const after = await one.consumers()
    expect(after.filter(({ name }) => before.some((each) => each.name === name))).toEqual([])
    messages.stop()
    await reading
  })

  test('trap nats 4: by default the client asks every two minutes whether the server is still there', async () => {
    const server = await ownServer()
    const one = await sourceLog({}, server.url)
    const theirs = await raw(client, server.url)
    const { options } = theirs.connection as unknown as { options: { pingInterval: number } }
    expect(options.pingInterval).toBe(120_000)
    const connect = connector(client, server.url)
    const connection = await connect()
    onTestFinished(() => connection.close())
    const ours = await one.open('', { connect: async () => connection })
    const waiting = errorOf(ours.take(1), 5000)
    server.process.freeze()
    try {
      expect(codeOf(await waiting)).toBe('NATS_CONNECTION')
      await within(connection.closed(), 5000, 'the pings that our options ask for')
      expect(theirs.connection.isClosed()).toBe(false)
    } finally {
      server.process.thaw()
    }
  })

  test('trap nats 5: a fetch may not wait for less than a second, and a reader that is slow is not waited for by each client', async () => {
    const one = await sourceLog()
    await one.append(200)
    const theirs = await raw(client)
    const consumer = await theirs.consumer(one.stream)
    expect(String(await errorOf((await theirs.consumer(one.stream)).fetch({ expires: 500 })))).toMatch(/expires.*1000/)
    const messages = await consumer.consume({ max_messages: 10 })
    onTestFinished(() => messages.stop())
    const delivered = async (): Promise<number> =>
      Math.max(...(await one.consumers()).map((each) => each.delivered.consumer_seq))
    if (client === 'nats 2.29') {
      // Nobody reads, and all of them come.
      await eventually(async () => (await delivered()) === 200, 5000, 'all messages in memory')
    } else {
      expect(await delivered()).toBe(0)
      const iterator = messages[Symbol.asyncIterator]()
      for (let i = 0; i < 5; i++) await iterator.next()
      await new Promise((resolve) => setTimeout(resolve, 300))
      expect(await delivered()).toBeLessThan(30)
    }
    messages.stop()
    await consumer.delete()

    const slow = await one.open('', { connect: connector(client), batchSize: 10 })
    const { events } = await slow.batch()
    await new Promise((resolve) => setTimeout(resolve, 300)) // nothing to wait for: nothing more may come
    expect(await delivered()).toBeLessThanOrEqual(events.length + 10)
  })

  test('trap nats 6: a consumer cannot be deleted once its connection is closed', async () => {
    const one = await sourceLog()
    await one.append(1)
    const theirs = await raw(client)
    const consumer = await theirs.consumer(one.stream)
    const messages = await consumer.consume({})
    await theirs.connection.close()
    messages.stop()
    expect(String(await errorOf(consumer.delete()))).toMatch(/closed/i)
    expect(await one.consumers()).toHaveLength(1)

    const ours = await one.open('', { connect: connector(client) })
    const waiting = ours.take(2).catch(() => {})
    await within(ours[Symbol.asyncDispose](), 1000, 'the close')
    await waiting
    expect(await one.consumers()).toHaveLength(1)
  })

  test('trap nats 7: a message id is known to the server only inside duplicate_window, and is stored again after it', async () => {
    const one = await sourceLog({ duplicate_window: 100_000_000 })
    const theirs = await raw(client)
    const subject = `${one.stream}.1`
    const first = await theirs.publish(subject, { msgID: 'm' })
    expect(await theirs.publish(subject, { msgID: 'm' })).toMatchObject({ seq: first.seq, duplicate: true })
    const windowIsOver = async (): Promise<boolean> => !(await theirs.publish(subject, { msgID: 'm' })).duplicate
    await eventually(windowIsOver, 5000, 'the end of the window')
    await one.purge()

    const sink = jetstreamSink({ connect: connector(client), stream: one.stream, subject: one.stream })
    const event = { id: '1', type: 1, foreignId: 'a', timestamp: 0, metadata: null, headers: {} }
    await using writer = await sink.open({ route: 'r', source: 'shop' })
    await writer.append([event], '1')
    await new Promise((resolve) => setTimeout(resolve, 300)) // three times the window
    await using again = await sink.open({ route: 'r', source: 'shop' }) // what was saved is lost
    expect(again.resumeFrom).toBe('1')
  })
})
