import { jetstream } from '@nats-io/jetstream'
import { connect as connectV3, headers as v3Headers } from '@nats-io/transport-node'
import { describe, expect, inject, test } from 'vitest'
import { headerBlock } from '../../src/adapters/jetstream/codec.ts'
import {
  type ConnectNats,
  type JetStreamSourceOptions,
  jetstreamFailFast,
  jetstreamSource,
  type NatsConnection,
} from '../../src/adapters/jetstream/index.ts'
import { isSince } from '../../src/adapters/jetstream/server-version.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import type { EventStream, Source } from '../../src/core/stream.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { errorOf, eventually, reader, within } from '../tools/reader.ts'
import { clientNames, connector, ownServer } from './fixture.ts'
import { type SourceLog, sourceLog } from './source-log.ts'

const ids = (events: readonly Event[]): string[] => events.map(({ id }) => id)

/** Makes connections on which the message of one sequence does not arrive. */
function losing(seq: string): ConnectNats {
  return async () => {
    const connection = await connector('@nats-io v3')()
    const subscribe: NatsConnection['subscribe'] = (subject, { callback }) =>
      connection.subscribe(subject, {
        callback: (error, message) => {
          if (!message?.reply?.includes(`.1.${seq}.`)) callback(error, message)
        },
      })
    return new Proxy(connection, {
      get: (target, key) => {
        const value: unknown = key === 'subscribe' ? subscribe : Reflect.get(target, key)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }
}

describe('a start that the server would change silently is an error', () => {
  test('below the first sequence', async () => {
    const one = await sourceLog()
    await one.append(10)
    await one.purge({ seq: 6 })
    expect(await errorOf(one.source().stream('4', {}))).toMatchObject({ code: 'CURSOR_TRIMMED', earliest: '6' })
    expect(ids(await one.rest('5'))).toEqual(['6', '7', '8', '9', '10']) // nothing after 5 is missing
    await one.noConsumer()
  })

  test('above the last sequence', async () => {
    const one = await sourceLog()
    await one.append(3)
    expect(await errorOf(one.source().stream('4', {}))).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'beyond' })
    expect(await one.rest('3')).toEqual([])
    await one.noConsumer()
  })

  test('in a stream that was purged as a whole, only what came before its end', async () => {
    const one = await sourceLog()
    await one.append(4)
    await one.purge()
    expect(codeOf(await errorOf(one.source().stream('3', {})))).toBe('CURSOR_TRIMMED')
    expect(await one.rest('4')).toEqual([])
    expect(await one.rest('')).toEqual([])
    await using pinned = await one.open('', { fromHead: true })
    expect((await pinned.batch()).cursor).toBe('4')
  })

  test('a cursor of after nothing is trimmed when the first message is, "" never', async () => {
    const one = await sourceLog()
    await using empty = await one.open('', { fromHead: true })
    const { cursor } = await empty.batch()
    expect(cursor).toBe('0')
    await one.append(3)
    await one.purge({ seq: 3 })
    expect(codeOf(await errorOf(one.source().stream('0', {})))).toBe('CURSOR_TRIMMED')
    expect(ids(await one.rest(''))).toEqual(['3'])
  })
})

describe.concurrent('removed under a running consumer', () => {
  test('a purge of what was not delivered yet is an error, and never a jump', async () => {
    const one = await sourceLog()
    await one.append(50)
    const slow = await one.open('', { batchSize: 5 })
    const read = ids(await slow.take(5))
    await one.purge({ seq: 40 })
    const error = await errorOf(
      (async () => {
        for (;;) read.push(...ids(await slow.take(1)))
      })(),
    )
    expect(codeOf(error)).toBe('CURSOR_TRIMMED')
    expect(read).toEqual(Array.from(read, (_, i) => String(i + 1))) // no jump
    expect(read.length).toBeLessThan(40)
    await one.noConsumer()
  })

  test('so is a purge of everything, with nothing left to deliver', async () => {
    const one = await sourceLog()
    await one.append(30)
    const slow = await one.open('', { batchSize: 5 })
    await slow.take(5)
    await one.purge()
    expect(codeOf(await errorOf(slow.take(30), 5000))).toBe('CURSOR_TRIMMED')
  })

  test.each<[string, object]>([
    ['max_msgs', { max_msgs: 20 }],
    ['max_bytes', { max_bytes: 8000 }],
    ['max_age', { max_age: 2_000_000_000 }],
  ])('%s, which a slow reader cannot keep up with, is an error', async (_, limit) => {
    const one = await sourceLog(limit)
    await one.append(20)
    const slow = await one.open('', { batchSize: 2 })
    const read = ids(await slow.take(2))
    for (const first of [20, 60, 100]) await one.append(40, first)
    const isTrimmed = async (): Promise<boolean> => (await one.admin.info(one.stream)).state.first_seq > 10
    await eventually(isTrimmed, 10_000, 'what is over the limit to be removed')
    const error = await errorOf(
      (async () => {
        for (;;) read.push(...ids(await slow.take(1)))
      })(),
    )
    expect(codeOf(error)).toBe('CURSOR_TRIMMED')
    expect(read).toEqual(Array.from(read, (_, i) => String(i + 1)))
    await one.noConsumer()
  })

  test('trimming behind the reader harms nobody', async () => {
    const one = await sourceLog({ max_msgs: 5 })
    const tail = await one.open('')
    for (let round = 0; round < 4; round++) {
      const appended = await one.append(5, round * 5)
      expect(ids(await tail.take(5))).toEqual(appended)
    }
  })

  test('messages deleted from the middle, from the tail or by subject are passed over, also in front of a reader', async () => {
    const one = await sourceLog()
    await one.append(10)
    const slow = await one.open('', { batchSize: 2 })
    const read = ids(await slow.take(1))
    for (const seq of ['5', '6', '8', '10']) await one.remove(seq)
    expect(ids(await one.rest(''))).toEqual(['1', '2', '3', '4', '7', '9'])
    expect(ids(await one.rest('4'))).toEqual(['7', '9'])
    await one.publish('b')
    await one.publish('c')
    await one.publish('b')
    await one.purge({ filter: `${one.stream}.b` })
    read.push(...ids(await slow.take(6)))
    expect(read).toEqual(['1', '2', '3', '4', '7', '9', '12'])
    await one.publish('b')
    expect(ids(await slow.take(1))).toEqual(['14'])
  })

  test.each<[string, (one: SourceLog) => Promise<unknown>]>([
    ['purge', (one) => one.purge({ filter: `${one.stream}.b` })],
    ['roll-up', (one) => one.admin.publish(`${one.stream}.b`, '', headerBlock('Nats-Rollup: sub\r\n'))],
  ])(
    'a %s of another subject, by which older servers let a consumer jump, costs no message',
    async (_, removeOthers) => {
      const one = await sourceLog({ allow_rollup_hdrs: true })
      for (let i = 0; i < 10; i++) await one.publish('a')
      const [slow, last] = [await one.open('', { batchSize: 2 }), await one.open('', { batchSize: 2 })]
      for (const each of [slow, last]) await each.take(1)
      for (const token of ['b', 'c', 'b']) await one.publish(token)
      await removeOthers(one)
      const rest = (await one.admin.messages(one.stream)).map(({ seq }) => String(seq)).slice(1)
      expect(ids(await last.take(rest.length))).toEqual(rest)
      const added = await one.publish('a')
      expect(ids(await slow.take(rest.length + 1))).toEqual([...rest, added])
    },
  )

  test('a purge that keeps the newest is an error for a reader that has not read what went, and for nobody else', async () => {
    const one = await sourceLog()
    await one.append(10)
    const early = await one.open('', { batchSize: 1 })
    await early.take(1)
    const idle = await one.open('9')
    await idle.take(1)
    await one.purge({ keep: 3 })
    expect(codeOf(await errorOf(early.take(10)))).toBe('CURSOR_TRIMMED')
    expect(ids(await one.rest('7'))).toEqual(['8', '9', '10'])
    await one.purge()
    await one.append(1, 10)
    expect(ids(await idle.take(1))).toEqual(['11'])
  })

  test('what was deleted at the very front looks as if it had been trimmed, which is told too often rather than never', async () => {
    const one = await sourceLog()
    await one.append(5)
    await one.remove('1')
    await one.remove('2')
    // Nobody can tell the two from what a limit of the stream removed.
    expect(await errorOf(one.source().stream('0', {}))).toMatchObject({ code: 'CURSOR_TRIMMED', earliest: '3' })
    expect(await errorOf(one.source().stream('1', {}))).toMatchObject({ code: 'CURSOR_TRIMMED', earliest: '3' })
    expect(ids(await one.rest('2'))).toEqual(['3', '4', '5'])
    expect(ids(await one.rest(''))).toEqual(['3', '4', '5'])
  })
})

describe.concurrent('the position moves over what does not come', () => {
  test('toHead ends at the last sequence also when its messages are filtered, deleted or purged', async () => {
    const one = await sourceLog()
    const { publish } = one.admin
    for (let i = 0; i < 5; i++) await publish(`${one.stream}.a`, 'x')
    for (let i = 0; i < 5; i++) await publish(`${one.stream}.b`, 'x')
    const subjects = [`${one.stream}.a`]
    const filtered = await one.open('', { toHead: true, subjects })
    expect(ids(await filtered.rest())).toEqual(['1', '2', '3', '4', '5'])
    expect(filtered.cursor).toMatch(/^10@/)
    await one.remove('10')
    await one.remove('9')
    const deleted = await one.open('', { toHead: true })
    expect(await deleted.rest()).toHaveLength(8)
    expect(deleted.cursor).toMatch(/^10@/)
    await one.purge()
    const purged = await one.open('', { toHead: true })
    expect(await purged.rest()).toEqual([])
    expect(purged.cursor).toMatch(/^10@/)
  })

  test('on an idle stream over filtered and deleted ones, so that the cursor never falls off the log', async () => {
    const one = await sourceLog()
    const subjects = [`${one.stream}.a`]
    const idle = await one.open('', { subjects })
    for (let i = 0; i < 4; i++) await one.admin.publish(`${one.stream}.b`, 'x')
    await one.remove('4')
    for (let cursor = ''; cursor !== '4'; ) {
      const batch = await idle.batch()
      expect(batch.events).toEqual([])
      cursor = batch.cursor
    }
    await one.purge() // what was passed over
    const added = await one.admin.publish(`${one.stream}.a`, 'x')
    expect(ids(await idle.take(1))).toEqual([added])
  })

  test('over what none of several filters matches', async () => {
    const one = await sourceLog()
    for (const token of ['a', 'b', 'c', 'b']) await one.publish(token)
    const subjects = [`${one.stream}.a`, `${one.stream}.c`]
    const idle = await one.open('', { subjects })
    expect(ids(await idle.take(2))).toEqual(['1', '3'])
    expect(ids(await one.rest('1', { subjects }))).toEqual(['3'])
  })

  test.each<[string, readonly string[]]>([
    ['a.*', ['1', '2', '5']],
    ['*.x', ['1', '4', '5']],
    ['a.>', ['1', '2', '3', '5']],
    ['>', ['1', '2', '3', '4', '5', '6']],
  ])('over what a filter with wildcards does not match, %s', async (filter, wanted) => {
    const one = await sourceLog()
    for (const token of ['a.x', 'a.y', 'a.x.z', 'b.x', 'a.x', 'c']) await one.publish(token)
    const subjects = [`${one.stream}.${filter}`]
    const idle = await one.open('', { subjects })
    expect(ids(await idle.take(wanted.length))).toEqual(wanted)
    expect(ids(await one.rest('', { subjects }))).toEqual(wanted)
    const backlog = await one.source({ subjects }).backlog?.('1')
    if (!isSince(inject('servers').nats.version, '2.11')) {
      expect(backlog).toEqual({ count: 5n, unit: 'positions' })
      return
    }
    expect(backlog).toEqual({ count: BigInt(wanted.length - 1), unit: 'events' })
    if (wanted.at(-1) !== '6') expect(await idle.batch()).toEqual({ events: [], cursor: '6' })
    // The server has sent nothing else.
    expect((await one.consumers())[0]?.delivered.consumer_seq).toBe(wanted.length)
  })

  test('fromHead begins at the head without reading what is before it', async () => {
    const one = await sourceLog()
    await one.append(50)
    const pinned = await one.open('', { fromHead: true })
    expect((await pinned.batch()).cursor).toBe('50')
    await one.append(1, 50)
    expect(ids(await pinned.take(1))).toEqual(['51'])
    expect((await one.consumers())[0]?.delivered.consumer_seq).toBe(1)
  })

  test('a request that ends with its bytes used up exactly is no silence of the server', async () => {
    const one = await sourceLog()
    for (let i = 0; i < 9; i++) await one.publish('a')
    const consumer = `reflex-${'0'.repeat(18)}`
    const size = `${one.stream}.a`.length + `$JS.ACK.${one.stream}.${consumer}.1.1.1.${'0'.repeat(19)}.8`.length + 1
    for (const messages of [1, 2, 4]) {
      const all = await one.open('', { batchBytes: messages * size })
      expect(ids(await all.take(9))).toEqual(Array.from({ length: 9 }, (_, i) => String(i + 1)))
    }
  })

  test('a message that is large for batchBytes comes all the same, and the others in small batches', async () => {
    const one = await sourceLog()
    for (const size of [10, 5000, 10, 10, 90_000, 10]) await one.admin.publish(`${one.stream}.a`, Buffer.alloc(size))
    await using stream = await one.source({ batchBytes: 1000 }).stream('', { toHead: true })
    const sizes: number[] = []
    for await (const { events } of stream) sizes.push(...events.map(({ metadata }) => metadata?.length ?? -1))
    expect(sizes).toEqual([10, 5000, 10, 10, 90_000, 10])
  })

  test('no more than one batch is read ahead', async () => {
    const one = await sourceLog()
    await one.append(200)
    const slow = await one.open('', { batchSize: 10 })
    let taken = 0
    for (let batches = 0; batches < 5; batches++) taken += (await slow.batch()).events.length
    const delivered = async (): Promise<number | undefined> => (await one.consumers())[0]?.delivered.consumer_seq
    const allowed = taken + 10
    // A request may be too small to be worth the while.
    await eventually(async () => Number(await delivered()) > allowed - 3, 2000, 'the batch that is read ahead')
    await new Promise((resolve) => setTimeout(resolve, 100)) // nothing to wait for: nothing more may come
    expect(await delivered()).toBeLessThanOrEqual(allowed)
  })
})

describe.concurrent('an end that is no end', () => {
  for (const client of clientNames) {
    test(`a connection that is cut ends an idle and a busy stream with an error, ${client}`, async () => {
      await using proxy = await tcpProxy(inject('servers').nats)
      const one = await sourceLog()
      await one.append(3)
      const connect = connector(client, `nats://127.0.0.1:${proxy.port}`)
      const idle = await one.open('3', { connect })
      const busy = await one.open('', { connect, batchSize: 1 })
      await busy.take(1)
      const waiting = errorOf(idle.take(1), 5000)
      proxy.cut()
      expect([codeOf(await waiting), isRetriable(await waiting)]).toEqual(['NATS_CONNECTION', true])
      expect(codeOf(await errorOf(busy.take(10), 5000))).toBe('NATS_CONNECTION')
      expect(codeOf(await errorOf(one.source({ connect }).stream('', {})))).toBe('NATS_CONNECTION')
    })

    test(`replies that do not come are noticed, ${client}`, async () => {
      await using proxy = await tcpProxy(inject('servers').nats)
      const one = await sourceLog()
      const connect = connector(client, `nats://127.0.0.1:${proxy.port}`, { pingInterval: 60_000 })
      const idle = await one.open('', { connect })
      const waiting = errorOf(idle.take(1), 5000, 'noticing silence without pings')
      proxy.stallReplies()
      expect(codeOf(await waiting)).toBe('NATS_CONNECTION')
      await within(idle[Symbol.asyncDispose](), 1000, 'the close')
    })

    test(`an option by which the connection would reconnect is refused by name, ${client}`, async () => {
      const one = await sourceLog()
      const connect = connector(client, undefined, { reconnect: true })
      const error = await errorOf(one.source({ connect }).stream('', {}))
      expect(codeOf(error)).toBe('OPTION_INVALID')
      expect(String(error)).toMatch(/reconnect.*jetstreamFailFast/)
    })
  }

  test('a message that is lost on the way is an error, and not taken for a deleted one', async () => {
    const one = await sourceLog()
    await one.append(6)
    const stream = await one.open('', { connect: losing('4') })
    const read: string[] = []
    const error = await errorOf(
      (async () => {
        for (;;) read.push(...ids(await stream.take(1)))
      })(),
    )
    expect([codeOf(error), isRetriable(error)]).toEqual(['NATS_DELIVERY_LOST', true])
    expect(read).toEqual(Array.from(read, (_, i) => String(i + 1)))
  })

  test('a consumer that vanished is an error, not a consumer that begins anew', async () => {
    const one = await sourceLog()
    await one.append(2)
    const idle = await one.open('')
    await idle.take(2)
    const waiting = errorOf(idle.take(1), 5000)
    const [consumer] = await one.consumers()
    await one.admin.api(`CONSUMER.DELETE.${one.stream}.${consumer?.name}`)
    expect([codeOf(await waiting), isRetriable(await waiting)]).toEqual(['NATS_CONSUMER_GONE', true])
  })

  test('a server that is killed and back at once has no consumer for us: the stream ends, and none is left', async () => {
    const server = await ownServer()
    const one = await sourceLog({}, server.url)
    await one.append(2)
    const idle = await one.open('')
    await idle.take(2)
    const waiting = errorOf(idle.take(1), 5000)
    await server.process.kill()
    expect(codeOf(await waiting)).toBe('NATS_CONNECTION')
    await server.process.start()
    expect(await one.rest(idle.cursor)).toEqual([]) // the time of creation survived, the cursor is good
    await one.noConsumer()
  })
})

describe('a stream that is not the one it was', () => {
  test('deleted under a reader', async () => {
    const one = await sourceLog()
    await one.append(2)
    const idle = await one.open('')
    await idle.take(2)
    const waiting = errorOf(idle.take(1), 5000)
    await one.end()
    expect(await waiting).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'recreated' })
    const missing = await errorOf(one.source().stream('', {}))
    expect([codeOf(missing), isRetriable(missing)]).toEqual(['JETSTREAM_10059', true])
  })

  test('restored from an older copy, at open and under a reader', async () => {
    const one = await sourceLog()
    await one.append(5)
    const copy = await one.admin.backUp(one.stream)
    await one.append(5, 5)
    const idle = await one.open('')
    await idle.take(10)
    const { cursor } = idle
    const waiting = errorOf(idle.take(1), 5000)
    await one.admin.restore(one.stream, copy)
    expect(codeOf(await waiting)).toBe('CURSOR_AHEAD')
    // Servers before 2.10 restore the time of creation too.
    const reason = cursor.endsWith(`@${await one.createdAt()}`) ? 'beyond' : 'recreated'
    expect(await errorOf(one.source().stream(cursor, {}))).toMatchObject({ code: 'CURSOR_AHEAD', reason })
    expect(await errorOf(one.source().stream('8', {}))).toMatchObject({ code: 'CURSOR_AHEAD', reason: 'beyond' })
    expect(await one.rest('5')).toEqual([])
  })
})

describe('messages of others', () => {
  test('published raw, by the client and with headers, come with what they have', async () => {
    const one = await sourceLog()
    const connection = await connectV3({ servers: inject('servers').nats.url })
    onTestFinished(() => connection.close())
    const before = Date.now()
    connection.publish(`${one.stream}.raw`, 'core') // no acknowledgement
    await connection.flush()
    await jetstream(connection).publish(`${one.stream}.js`, Buffer.from([0, 255]), { msgID: 'm-1' })
    const headers = v3Headers()
    headers.append('X-Tag', 'a')
    headers.append('X-Tag', 'b%20c')
    headers.append('traceparent', '00-1')
    connection.publish(`${one.stream}.headed`, '', { headers })
    await connection.flush()
    const events = await one.rest('')
    expect(events.map(({ id, type, foreignId }) => [id, type, foreignId])).toEqual([
      ['1', 0, `${one.stream}.raw`],
      ['2', 0, `${one.stream}.js`],
      ['3', 0, `${one.stream}.headed`],
    ])
    expect(events.map(({ metadata }) => Buffer.from(metadata ?? 'null').toString('hex'))).toEqual([
      '636f7265',
      '00ff',
      '',
    ])
    expect(events.map((event) => ({ ...event.headers }))).toEqual([
      {},
      { 'Nats-Msg-Id': 'm-1' },
      { 'X-Tag': ['a', 'b%20c'], traceparent: '00-1' },
    ])
    for (const { timestamp } of events) {
      expect(timestamp).toBeGreaterThanOrEqual(before)
      expect(timestamp).toBeLessThanOrEqual(Date.now() + 1)
    }
  })

  test('with a decode option, which sees the message, and whose error names its sequence', async () => {
    const one = await sourceLog()
    await one.admin.publish(`${one.stream}.a`, '{"user":"7"}')
    await one.admin.publish(`${one.stream}.a`, 'not JSON')
    const decode: JetStreamSourceOptions['decode'] = ({ subject, data, timestamp, headers }, stream) => ({
      type: subject === `${stream}.a` ? 5 : 6,
      foreignId: (JSON.parse(Buffer.from(data).toString()) as { user: string }).user,
      timestamp,
      metadata: null,
      headers,
    })
    const stream = await one.open('', { decode })
    expect(await stream.take(1)).toMatchObject([{ id: '1', type: 5, foreignId: '7' }])
    expect(await errorOf(stream.take(1))).toMatchObject({ code: 'EVENT_UNDECODABLE', position: '2' })
  })

  test('of a bridge are read without the headers that are for the server', async () => {
    const one = await sourceLog()
    const lines = ['type: 5', 'foreign-id: a', 'timestamp: 2026-01-01T00:00:00Z'].map((line) => `reflex-${line}\r\n`)
    const headers = Buffer.from(`NATS/1.0\r\nNats-Msg-Id: m-1\r\n%4Eats-Own: b%0Ac\r\n${lines.join('')}\r\n`)
    await one.admin.publish(`${one.stream}.a`, '', headers)
    expect(await one.rest('')).toMatchObject([{ type: 5, foreignId: 'a', headers: { 'Nats-Own': 'b\nc' } }])
    expect((await one.rest(''))[0]?.headers).not.toHaveProperty('Nats-Msg-Id')
  })

  test('that look like ours, but are wrong, are errors and not skipped', async () => {
    const one = await sourceLog()
    const headers = Buffer.from(
      'NATS/1.0\r\nreflex-type: x\r\nreflex-foreign-id: a\r\nreflex-timestamp: 2026-01-01T00:00:00Z\r\n\r\n',
    )
    await one.admin.publish(`${one.stream}.a`, '', headers)
    expect(await errorOf((await one.open('')).take(1))).toMatchObject({ code: 'EVENT_UNDECODABLE', position: '1' })
  })
})

describe.concurrent('close and abort leave no consumer, no connection', () => {
  const states: Record<string, (stream: EventStream) => Promise<void>> = {
    'never read': async () => {},
    'after a batch, with others on their way': async (stream) => void (await reader(stream).take(1)),
    'with a read pending': async (stream) => {
      const idle = reader(stream)
      await idle.take(20)
      idle.take(1).catch(() => {}) // ends with the close
    },
    'with a reader that has been away for longer than a request lasts': async (stream) => {
      await reader(stream).take(1)
      await new Promise((resolve) => setTimeout(resolve, 1500))
    },
  }
  for (const client of clientNames) {
    for (const [state, reach] of Object.entries(states)) {
      test.each(['close', 'abort'])(`${state}, by %s, ${client}`, async (how) => {
        const one = await sourceLog()
        await one.append(20)
        const controller = new AbortController()
        const source = one.source({ connect: connector(client), batchSize: 5 })
        const stream = await source.stream('', { signal: controller.signal })
        expect(await one.consumers()).toHaveLength(1)
        await reach(stream)
        if (how === 'abort') controller.abort()
        await within(Promise.resolve(stream[Symbol.asyncDispose]()), 1000, 'the close')
        await one.noConsumer()
      })
    }

    test(`at its end, after a failed decode and after a refused cursor, ${client}`, async () => {
      const one = await sourceLog()
      await one.append(5)
      const connect = connector(client)
      await one.rest('', { connect })
      expect(await one.consumers()).toEqual([])
      const decode = (): never => {
        throw new Error('not mine')
      }
      const failing = await one.open('', { connect, decode })
      expect(codeOf(await errorOf(failing.take(1)))).toBe('EVENT_UNDECODABLE')
      await one.noConsumer()
      expect(codeOf(await errorOf(one.source({ connect }).stream('6', {})))).toBe('CURSOR_AHEAD')
      expect(await one.consumers()).toEqual([])
    })

    test(`an abort at any moment of the opening, ${client}`, async () => {
      const one = await sourceLog()
      for (const ms of [0, 1, 2, 4, 8]) {
        const controller = new AbortController()
        const opening = one.source({ connect: connector(client) }).stream('', { signal: controller.signal })
        setTimeout(() => controller.abort(), ms)
        await opening.then(
          (stream) => stream[Symbol.asyncDispose](),
          () => {},
        )
      }
      await one.noConsumer()
    })
  }

  test('also head, backlog and at leave none', async () => {
    const one = await sourceLog()
    await one.append(3)
    const { head, backlog, at } = one.source() as Required<Source>
    expect(await head()).toBe('3')
    expect(await backlog('1')).toEqual({ count: 2n, unit: 'events' })
    await at(Date.now() + 1000)
    await one.noConsumer()
  })

  test('the server drops the consumer of a reader that was killed within 30 s', { timeout: 45_000 }, async () => {
    await using proxy = await tcpProxy(inject('servers').nats)
    const one = await sourceLog()
    const idle = await one.open('', { connect: connector('@nats-io v3', `nats://127.0.0.1:${proxy.port}`) })
    const waiting = errorOf(idle.take(1))
    proxy.cut()
    await waiting
    expect(await one.consumers()).toHaveLength(1) // it could not be deleted any more
    await one.noConsumer(30_000)
  })
})

describe('what is refused', () => {
  test.each(['workqueue', 'interest'])('a stream with retention %s, and its messages stay', async (retention) => {
    const one = await sourceLog({ retention })
    if (retention === 'workqueue') await one.append(2)
    expect(codeOf(await errorOf(one.source().stream('', {})))).toBe('OPTION_INVALID')
    expect(codeOf(await errorOf((one.source() as Required<Source>).backlog('')))).toBe('OPTION_INVALID')
    const { state } = await one.admin.info(one.stream)
    expect(state.messages).toBe(retention === 'workqueue' ? 2 : 0)
  })

  test('options that are wrong', () => {
    const good = { connect: connector('@nats-io v3'), stream: 'S' }
    const wrong: [object, RegExp][] = [
      [{ connect: {} }, /connect must be a function/],
      [{ stream: 'a.b' }, /stream must be a name/],
      [{ subjects: [] }, /at least one subject/],
      [{ subjects: ['a..b'] }, /subjects must be subjects/],
      [{ batchSize: 0 }, /batchSize must be a positive integer/],
      [{ batchBytes: 1.5 }, /batchBytes must be a positive integer/],
    ]
    for (const [options, message] of wrong) expect(() => jetstreamSource({ ...good, ...options })).toThrow(message)
  })

  test('the fail-fast options are all there', () => {
    expect(jetstreamFailFast).toMatchObject({ reconnect: false, waitOnFirstConnect: false, timeout: 2000 })
  })
})
