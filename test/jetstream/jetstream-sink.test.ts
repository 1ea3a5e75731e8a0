import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, inject, test } from 'vitest'
import { type JetStreamSinkOptions, jetstreamSink } from '../../src/adapters/jetstream/jetstream-sink.ts'
import { atomicPublisher } from '../../src/adapters/jetstream/publisher.ts'
import { codeOf, isRetriable } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import type { Checkpoint, SinkWriter } from '../../src/core/sink.ts'
import { wireNames } from '../../src/core/wire.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { type NatsStored, natsEventOf, natsHeadersOf } from '../subjects/nats-admin.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { clientNames, connector, ownServer, testAdmin } from './fixture.ts'
import {
  atomic,
  events,
  headersOf,
  lastSeq,
  modes,
  needsAtomic,
  ownFolder,
  pump,
  type RouteOptions,
  restoreOlder,
  route,
  SOURCE,
  serverWith,
  upTo,
} from './sink-route.ts'

describe('a message', () => {
  test('goes to the subject of its type, with the source, the id and the rest as headers', async () => {
    const { to, stream, prefix, open } = await route()
    const headers = { trace: ['a', 'b'] }
    const [event] = events(1) as [Event]
    await (await open()).append([{ ...event, id: '7@x', type: -3, headers, metadata: null }], '7@x')
    const [message] = await to.messages(stream)
    expect(message?.subject).toBe(`${prefix}.-3`)
    expect(natsHeadersOf(message as NatsStored)).toEqual([
      ['reflex-source', SOURCE],
      ['reflex-source-id', '7@x'],
      ['reflex-type', '-3'],
      ['reflex-foreign-id', 'e1'],
      ['reflex-timestamp', '2026-01-01T00:00:00.000000Z'],
      ['reflex-null', '1'],
      ['trace', 'a'],
      ['trace', 'b'],
    ])
  })

  test('keeps what header trimming would change, and what a header cannot hold', async () => {
    const { to, stream, open } = await route()
    const headers = { ' lead ': ' lead ', 'a:b': 'line\r\nbreak', größe: 'ключ', '%41': '%41', tab: '\tx\t' }
    const [event] = events(1) as [Event]
    await (await open()).append([{ ...event, id: ' 1 ', foreignId: ' a\nb ', headers }], '1')
    const [message] = await to.messages(stream)
    expect(natsEventOf(message as NatsStored)).toMatchObject({
      foreignId: ' a\nb ',
      headers: { ...headers, [wireNames.sourceId]: ' 1 ' },
    })
  })

  test('has no header that the server would act upon', async () => {
    const { to, stream, open, ids } = await route({ config: { allow_rollup_hdrs: true } })
    const headers = { 'Nats-Rollup': 'all', 'nats-msg-id': 'x', 'Nats-Expected-Stream': 'another' }
    const batch = events(3).map((event) => ({ ...event, headers }))
    await (await open()).append(batch, '3')
    expect(await ids()).toEqual(upTo(3))
    const [message] = await to.messages(stream)
    expect(natsEventOf(message as NatsStored).headers).toMatchObject(headers)
  })
})

describe.each(modes)('$mode', ({ config }) => {
  test('id 5 of two tables is two events', async () => {
    const [a, b] = [await route({ config, source: 'a' }), await route({ config, source: 'b' })]
    await (await a.open()).append(events(1, { from: 5 }), '5')
    await (await b.open()).append(events(1, { from: 5 }), '5')
    expect([await a.ids(), await b.ids()]).toEqual([['5'], ['5']])
  })

  test('a foreign publisher on the prefix fences the writer, and then is named', async () => {
    const { to, prefix, open, ids } = await route({ config })
    const writer = await open()
    const saved = await pump(writer, 5)
    await to.publish(`${prefix}.1`, 'mine')
    expect(codeOf(await errorOf(writer.append(events(5, { from: 6 }), '10')))).toBe('FENCED')
    const error = await errorOf(open(saved))
    expect([codeOf(error), isRetriable(error)]).toEqual(['SINK_PREFIX_SHARED', false])
    expect(String(error)).toMatch(/somebody else/)
    await expect(ids()).rejects.toThrow('message 6 is not an event')
  })

  test('a message of another source, or of a longer prefix, is not taken for one of the route', async () => {
    const { stream, prefix, open, to } = await route({ config })
    const other = await route({ stream, prefix, source: 'other', to })
    const longer = await route({ stream, prefix: `${prefix}.more`, to })
    const foreign = headersOf([
      [wireNames.source, SOURCE],
      [wireNames.sourceId, '3'],
    ])
    await pump(await other.open(), 2)
    expect(String(await errorOf(open()))).toMatch(/of the source other/)
    await to.api(`STREAM.PURGE.${stream}`)
    await to.publish(`${longer.prefix}.1`, '', foreign)
    expect(codeOf(await errorOf(open()))).toBe('SINK_PREFIX_SHARED')
  })

  test('a purge is no loss: nothing is appended again, nor after the server was restarted', async () => {
    const server = await ownServer()
    const first = await route({ url: server.url, config })
    const saved = await pump(await first.open(), 5)
    await first.to.api(`STREAM.PURGE.${first.stream}`)
    const again = await first.open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['5', undefined])
    await server.process.kill()
    await server.process.start()
    const { open, ids } = await route({ url: server.url, stream: first.stream, prefix: first.prefix })
    const writer = await open(saved)
    expect([writer.resumeFrom, writer.repair]).toEqual(['5', undefined])
    await pump(writer, 12)
    expect(await ids()).toEqual(upTo(12, 6))
  })

  test('a purge while appending: the next open goes on', async () => {
    const { to, stream, open, ids } = await route({ config })
    const writer = await open()
    let saved = await pump(writer, 5)
    await to.api(`STREAM.PURGE.${stream}`)
    const outcome = await writer.append(events(1, { from: 6 }), '6').catch((error: unknown) => error)
    if (typeof outcome === 'string') saved = { cursor: '6', mark: outcome }
    await pump(await open(saved), 8)
    expect(await ids()).toEqual(upTo(8, 6))
  })

  test('a message that an operator deleted is none of its business, not even the newest', async () => {
    const { to, stream, open, ids } = await route({ config })
    const saved = await pump(await open(), 5)
    await to.api(`STREAM.MSG.DELETE.${stream}`, { seq: 5 })
    const writer = await open(saved)
    expect([writer.resumeFrom, writer.repair]).toEqual(['5', undefined])
    await pump(writer, 7)
    expect(await ids()).toEqual(['1', '2', '3', '4', '6', '7'])
  })

  test('there is no duplicate after the duplicate window, nor is an event taken for one within it', async () => {
    const { to, stream, open, ids } = await route({ config: { ...config, duplicate_window: 100_000_000 } })
    const first = await pump(await open(), 5)
    const identified = headersOf([['Nats-Msg-Id', 'w']])
    await to.publish(`${stream}.to.1`, '', identified)
    await to.api(`STREAM.MSG.DELETE.${stream}`, { seq: 6 })
    const windowIsOver = async () => {
      const seq = Number(await to.publish(`${stream}.to.1`, '', identified))
      if (seq === 6) return false
      await to.api(`STREAM.MSG.DELETE.${stream}`, { seq })
      return true
    }
    await eventually(windowIsOver, 5000, 'the end of the window')
    const again = await open() // nothing was saved
    expect(again.resumeFrom).toBe('5')
    await pump(again, 6)
    expect(await ids()).toEqual(upTo(6))

    const long = await route({ config: { ...config, duplicate_window: 60_000_000_000 } })
    await pump(await long.open(), 5)
    await long.to.api(`STREAM.PURGE.${long.stream}`)
    await pump(await long.open(), 5) // as if it were new
    expect(await long.ids()).toEqual(upTo(5))
    expect(first.cursor).toBe('5')
  })

  test('a committed batch that is sent again is refused', async () => {
    const { open, ids } = await route({ config })
    const [one, two] = [await open(), await open()]
    await pump(one, 5)
    expect(codeOf(await errorOf(two.append(events(5), '5')))).toBe('FENCED')
    expect(codeOf(await errorOf(two.append([], '')))).toBe('FENCED')
    expect(await ids()).toEqual(upTo(5))
  })

  test('2,500 events in one append that is cut in the middle leave a beginning of it, and the next open goes on', async () => {
    const { host, port } = inject('servers').nats
    let parts = 0
    for (let round = 0; parts < 3; round++) {
      if (round === 50) throw new Error('no append was cut in the middle')
      await using proxy = await tcpProxy({ host, port })
      const direct = await route({ config })
      const through = await route({ ...direct, url: `nats://127.0.0.1:${proxy.port}` })
      const writer = await through.open()
      const saved = await pump(writer, 5)
      const append = writer.append(events(2500, { from: 6 }), '2505').catch(codeOf)
      while ((await lastSeq(direct.to, direct.stream)) <= 5) {} // the first of it
      proxy.cut()
      if ((await append) === 'NATS_CONNECTION') {
        const again = await direct.open(saved)
        expect(again.repair).toBeUndefined()
        if (Number(again.resumeFrom) < 2505) parts++
        await pump(again, 2600, { batch: 1000 })
      }
      const found = await direct.ids()
      expect(found).toEqual(upTo(found.length))
    }
  })

  test('a commit whose reply is lost is found by the next open: nothing twice', async () => {
    const { host, port } = inject('servers').nats
    await using proxy = await tcpProxy({ host, port })
    const { stream, prefix, to, open, ids } = await route({ config })
    const through = await route({ stream, prefix, to, url: `nats://127.0.0.1:${proxy.port}` })
    const writer = await through.open()
    const saved = await pump(writer, 5)
    proxy.stallReplies()
    const lost = await errorOf(writer.append(events(5, { from: 6 }), '10'), 5000, 'the lost reply')
    expect([codeOf(lost), isRetriable(lost)]).toEqual(['NATS_CONNECTION', true])
    expect(await ids()).toEqual(upTo(10))
    const again = await open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['10', undefined])
    await pump(again, 12)
    expect(await ids()).toEqual(upTo(12))
  })

  test('an append that arrives after the next open has appended is refused whole', async () => {
    const { host, port } = inject('servers').nats
    await using proxy = await tcpProxy({ host, port })
    const { stream, prefix, to, open, ids } = await route({ config })
    const through = await route({ stream, prefix, to, url: `nats://127.0.0.1:${proxy.port}` })
    const writer = await through.open()
    const saved = await pump(writer, 5)
    proxy.stall()
    const late = errorOf(writer.append(events(5, { from: 6 }), '10'))
    await pump(await open(saved), 7)
    proxy.restore()
    expect(codeOf(await late)).toBe('FENCED')
    await pump(await open(), 9)
    expect(await ids()).toEqual(upTo(9))
  })

  test('max_payload and max_msg_size: an event that is too large is refused with its batch, before anything is sent', async () => {
    const limits: [RouteOptions, number, string][] = [
      [{ config }, 1024 * 1024, 'max_payload of the server'],
      [{ config: { ...config, max_msg_size: 10_000 } }, 10_000, 'max_msg_size of the stream'],
    ]
    for (const [options, limit, name] of limits) {
      const { open, ids } = await route(options)
      const writer = await open()
      const large = events(1, { from: 3, bytes: limit })
      const error = await errorOf(writer.append([...events(2), ...large], '3'))
      expect([codeOf(error), isRetriable(error)]).toEqual(['EVENT_TOO_LARGE', false])
      const size = Number(/event 3 has (\d+) bytes with its headers/.exec(String(error))?.[1])
      expect(size).toBeGreaterThan(limit)
      expect(size).toBeLessThan(limit + 1000)
      expect(String(error)).toContain(`${name} is ${limit}: raise it`)
      expect(await ids()).toEqual([])
      const fits = { ...(large[0] as Event), metadata: Buffer.alloc(limit - 1000) }
      await (await open()).append([...events(2), fits], '3')
      expect(await ids()).toEqual(upTo(3))
    }
  })

  test('a full stream that discards the new refuses without a hole', async () => {
    const limits = { discard: 'new', max_msgs: 7 }
    const { to, stream, open, ids } = await route({ config: { ...config, ...limits } })
    const writer = await open()
    await pump(writer, 5)
    const error = await errorOf(writer.append(events(5, { from: 6 }), '10'))
    expect([codeOf(error), isRetriable(error)]).toEqual(['JETSTREAM_10077', true])
    expect(String(error)).toMatch(/max_msgs/)
    const reached = (await ids()).length
    expect(await ids()).toEqual(upTo(reached))
    const { config: now } = await to.info(stream)
    await to.api(`STREAM.UPDATE.${stream}`, { ...now, max_msgs: -1 })
    await pump(await open(), 12)
    expect(await ids()).toEqual(upTo(12))
  })

  test('retention that takes the oldest, or all, is no loss', async () => {
    const { open, ids } = await route({ config: { ...config, max_msgs: 3 } })
    const saved = await pump(await open(), 10)
    const again = await open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['10', undefined])
    await pump(again, 12)
    expect(await ids()).toEqual(upTo(12, 10))
    const aged = await route({ config: { ...config, max_age: 200_000_000, duplicate_window: 200_000_000 } })
    const writer = await aged.open()
    const kept = await pump(writer, 4)
    await eventually(async () => (await aged.ids()).length === 0, 5000, 'the end of max_age')
    const next = await aged.open(kept)
    expect([next.resumeFrom, next.repair]).toEqual(['4', undefined])
    await pump(next, 6)
    expect(await aged.ids()).toEqual(upTo(6, 5))
  })

  test('a work queue that was consumed is not filled again', async () => {
    const { to, stream, open, ids } = await route({ config: { ...config, retention: 'workqueue' } })
    const writer = await open()
    const saved = await pump(writer, 5)
    for (let seq = 1; seq <= 5; seq++) await to.api(`STREAM.MSG.DELETE.${stream}`, { seq }) // as an ack does
    await writer.append([], '5')
    await pump(await open(saved), 7)
    expect(await ids()).toEqual(['6', '7'])
  })

  test('a lost tail is refilled up to maxRefill', async () => {
    const { to, stream, open, ids } = await route({ config })
    const saved = await pump(await open(), 10)
    await restoreOlder(to, stream, 4)
    const error = await errorOf(open(saved, { maxRefill: 3 }))
    expect([codeOf(error), isRetriable(error)]).toEqual(['SINK_LOST_TOO_MUCH', false])
    expect(String(error)).toMatch(/maxRefill: 4/)
    const writer = await open(saved, { maxRefill: 4 })
    expect(writer.resumeFrom).toBe('6')
    expect(writer.repair).toMatch(/refilling up to 4 events, from the source after event 6/)
    await pump(writer, 12)
    expect(await ids()).toEqual(upTo(12))
  })

  test('a server that was set back to an older copy is filled again', async () => {
    const folder = await ownFolder()
    const server = await ownServer({ args: ['-sd', join(folder, 'now')] })
    const first = await route({ url: server.url, config })
    const early = await pump(await first.open(), 5)
    await server.process.stop()
    await cp(join(folder, 'now'), join(folder, 'then'), { recursive: true })
    await server.process.start()
    const { stream, prefix } = first
    const second = await route({ url: server.url, stream, prefix })
    const saved = await pump(await second.open(early), 11)
    await server.process.stop()
    await rm(join(folder, 'now'), { recursive: true })
    await cp(join(folder, 'then'), join(folder, 'now'), { recursive: true })
    await server.process.start()
    const { open, ids } = await route({ url: server.url, stream, prefix })
    expect(await ids()).toEqual(upTo(5))
    const writer = await open(saved)
    expect(writer.resumeFrom).toBe('5')
    expect(writer.repair).toMatch(/the stream ends at 5, before 11.*up to 6 events/)
    await pump(writer, 13)
    expect(await ids()).toEqual(upTo(13))
  })

  test('two writers that race for many rounds lose, repeat and disorder nothing', async () => {
    const { open, ids } = await route({ config })
    let saved: Checkpoint | undefined
    const end = 600
    let fenced = 0
    const run = async (): Promise<void> => {
      for (;;) {
        try {
          const writer = await open(saved)
          let at = Number(writer.resumeFrom)
          if (at >= end) return
          while (at < end) {
            const part = events(Math.min(1 + (at % 7), end - at), { from: at + 1 })
            const mark = await writer.append(part, String(at + part.length))
            at += part.length
            if (at % 2 === 0) saved = { cursor: String(at), mark } // the other one may have saved a later one
            await new Promise((resolve) => setTimeout(resolve, (at % 3) * 2))
          }
        } catch (error) {
          expect(codeOf(error)).toBe('FENCED')
          fenced++
        }
      }
    }
    await Promise.all([run(), run()])
    expect(await ids()).toEqual(upTo(end))
    expect(fenced).toBeGreaterThan(10)
  })

  describe('an empty append', () => {
    test('appends nothing, and notices another writer and a stream that was made anew', async () => {
      const { to, stream, open } = await route({ config })
      const writer = await open()
      const saved = await pump(writer, 5)
      expect(await writer.append([], '5')).toBe(saved.mark)
      expect(await lastSeq(to, stream)).toBe(5)
      await pump(await open(saved), 6)
      const error = await errorOf(writer.append([], '5'))
      expect(codeOf(error)).toBe('FENCED')
      expect(await errorOf(writer.append(events(1, { from: 6 }), '6'))).toBe(error)
      const other = await open(saved)
      await restoreOlder(to, stream, 2)
      expect(codeOf(await errorOf(other.append([], '6')))).toBe('SINK_TAIL_CHANGED')
    })

    test('notices a server that is frozen within 5 s, and one that is gone at once', async () => {
      const { host, port } = inject('servers').nats
      await using proxy = await tcpProxy({ host, port })
      const url = `nats://127.0.0.1:${proxy.port}`
      const { open } = await route({ config, url })
      const [frozen, gone] = [await open(), await open()]
      proxy.stall()
      expect(codeOf(await errorOf(frozen.append([], ''), 5000))).toBe('NATS_CONNECTION')
      proxy.cut()
      expect(codeOf(await errorOf(gone.append([], ''), 1000))).toBe('NATS_CONNECTION')
    })
  })
})

describe('a stream of several writers', needsAtomic, () => {
  const config = { allow_atomic: true }

  test('two routes and a stranger append to it in turns', async () => {
    const stream = fresh('shared')
    const to = await testAdmin()
    await to.createStream(stream, { ...config, subjects: [`${stream}.>`] })
    const one = await route({ stream, prefix: `${stream}.one`, to })
    const two = await route({ stream, prefix: `${stream}.two`, to })
    const saved: (Checkpoint | undefined)[] = [undefined, undefined]
    for (let end = 4; end <= 20; end += 4) {
      const writers = [await one.open(saved[0]), await two.open(saved[1])]
      for (const writer of writers) expect([writer.resumeFrom || '0', writer.repair]).toEqual([`${end - 4}`, undefined])
      const appended = await Promise.all(writers.map((writer) => pump(writer, end, { batch: 1 })))
      saved.splice(0, 2, ...appended)
      await to.publish(`${stream}.stranger`)
      for (const writer of writers) await writer.append([], `${end}`)
    }
    expect(await one.ids()).toEqual(upTo(20))
    expect(await two.ids()).toEqual(upTo(20))
  })

  test('retention that empties the prefix is no loss: 0 is expected then', async () => {
    const stream = fresh('shared')
    const to = await testAdmin()
    await to.createStream(stream, { ...config, subjects: [`${stream}.>`], max_msgs: 5 })
    const { open, ids } = await route({ stream, prefix: `${stream}.to`, to })
    const writer = await open()
    const saved = await pump(writer, 3)
    for (let i = 0; i < 6; i++) await to.publish(`${stream}.stranger`)
    expect(await ids()).toEqual([])
    const changed = await errorOf(writer.append(events(1, { from: 4 }), '4'))
    expect([codeOf(changed), isRetriable(changed)]).toEqual(['SINK_TAIL_CHANGED', true])
    const again = await open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['3', undefined])
    await again.append([], '3')
    await pump(again, 5)
    expect(await ids()).toEqual(['4', '5'])
  })

  test('a purge of the prefix is no loss', async () => {
    const stream = fresh('shared')
    const to = await testAdmin()
    await to.createStream(stream, { ...config, subjects: [`${stream}.>`] })
    const { open, ids } = await route({ stream, prefix: `${stream}.to`, to })
    await to.publish(`${stream}.stranger`)
    const saved = await pump(await open(), 3)
    await to.publish(`${stream}.stranger`)
    await to.api(`STREAM.PURGE.${stream}`, { filter: `${stream}.to.>` })
    const again = await open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['3', undefined])
    await pump(again, 5)
    expect(await ids()).toEqual(['4', '5'])
  })

  test('a tail that was lost is noticed, also when others have published more since', async () => {
    const folder = await ownFolder()
    const server = await ownServer({ args: ['-sd', join(folder, 'now')] })
    const stream = fresh('shared')
    const prefix = `${stream}.to`
    const to = await testAdmin(server.url)
    await to.createStream(stream, { ...config, subjects: [`${stream}.>`] })
    const early = await pump(await (await route({ url: server.url, stream, prefix })).open(), 5)
    await server.process.stop()
    await cp(join(folder, 'now'), join(folder, 'then'), { recursive: true })
    await server.process.start()
    const saved = await pump(await (await route({ url: server.url, stream, prefix })).open(early), 9)
    await server.process.stop()
    await rm(join(folder, 'now'), { recursive: true })
    await cp(join(folder, 'then'), join(folder, 'now'), { recursive: true })
    await server.process.start()
    const { to: now, open, ids } = await route({ url: server.url, stream, prefix })
    for (let i = 0; i < 10; i++) await now.publish(`${stream}.stranger`)
    const writer = await open(saved)
    expect(writer.resumeFrom).toBe('5')
    expect(writer.repair).toMatch(/9 is another message now.*up to 4 events/)
    await pump(writer, 12)
    expect(await ids()).toEqual(upTo(12))
  })

  test('a stream that gives consumed messages up is refused, since nothing would tell how far the route has got', async () => {
    const stream = fresh('shared')
    const to = await testAdmin()
    await to.createStream(stream, { ...config, subjects: [`${stream}.>`], retention: 'workqueue' })
    const { open } = await route({ stream, prefix: `${stream}.to`, to })
    expect(String(await errorOf(open()))).toMatch(/retention: workqueue.*a stream of its own/)
  })
})

test('into its own stream few events go one bound to the other, more as a batch; both fence', needsAtomic, async () => {
  const { to, stream, open, ids } = await route({ config: { allow_atomic: true } })
  const writer = await open()
  let end = 0
  const append = async (to: SinkWriter, count: number): Promise<void> => {
    await to.append(events(count, { from: end + 1 }), String(end + count))
    end += count
  }
  for (const count of [50, 51, 1, 1200, 2]) await append(writer, count)
  expect(await ids()).toEqual(upTo(end))
  const sent = (await to.messages(stream)).map((each) => /Nats-(Batch|Msg)-Id/.exec(String(each.headers))?.[1])
  expect(Array.from(new Set(sent.slice(0, 50)))).toEqual(['Msg'])
  expect(Array.from(new Set(sent.slice(50, 101)))).toEqual(['Batch'])
  for (const count of [1, 60]) {
    const [one, other] = [await open(), await open()]
    await append(one, count)
    expect(codeOf(await errorOf(append(other, count)))).toBe('FENCED')
  }
  expect(await ids()).toEqual(upTo(end))
})

describe('message by message', () => {
  test('says why, once', async () => {
    const { to, stream, prefix } = await route()
    const notes: string[] = []
    const connect = connector('@nats-io v3')
    const sink = jetstreamSink({ connect, stream, subject: prefix, note: (text) => notes.push(text) })
    for (let i = 0; i < 2; i++) await (await sink.open({ route: 'r', source: SOURCE }))[Symbol.asyncDispose]()
    const why = atomic ? /allow_atomic/ : /server is 2\.9/
    expect(notes).toEqual([expect.stringMatching(why)])
    expect(await lastSeq(to, stream)).toBe(0)
  })

  test('a foreign publisher in the middle of an append leaves no hole', async () => {
    for (let round = 0; round < 5; round++) {
      const { to, stream, prefix, open, ids } = await route()
      const writer = await open()
      let done = false
      const append = errorOf(writer.append(events(3000), '3000')).finally(() => {
        done = true
      })
      const foreign: number[] = []
      while (!done) foreign.push(Number(await to.publish(`${prefix}.1`)))
      expect(codeOf(await append)).toBe('FENCED')
      for (const seq of foreign) await to.api(`STREAM.MSG.DELETE.${stream}`, { seq })
      const found = await ids()
      expect(found.length).toBeLessThan(3000)
      expect(found).toEqual(upTo(found.length))
      await pump(await open(), 3100, { batch: 1000 })
      expect(await ids()).toEqual(upTo(3100))
    }
  })

  test('a stream that takes other subjects, or has sources, is refused', async () => {
    const to = await testAdmin()
    const stream = fresh('shared')
    await to.createStream(stream, { subjects: [`${stream}.to.>`, `${stream}.more`] })
    const { open } = await route({ stream, prefix: `${stream}.to`, to })
    const error = await errorOf(open())
    expect(codeOf(error)).toBe('OPTION_INVALID')
    expect(String(error)).toMatch(/nobody else may write to the stream.*a stream of its own/)
    const origin = await route()
    const sourced = await route({ config: { sources: [{ name: origin.stream }] } })
    expect(codeOf(await errorOf(sourced.open()))).toBe('OPTION_INVALID')
  })
})

describe('refused, with what to do', () => {
  test('no such stream', async () => {
    const { prefix, to } = await route()
    const { open } = await route({ stream: fresh('none'), prefix, to })
    const error = await errorOf(open())
    expect([codeOf(error), isRetriable(error)]).toEqual(['JETSTREAM_10059', true])
    expect(String(error)).toMatch(/create it/)
  })

  test.each([
    ['subjects that do not take the events', { subjects: ['{}.to.1', '{}.more.>'] }, /add \S+\.to\.> to its subjects/],
    ['no_ack', { no_ack: true }, /no_ack/],
  ])('a stream with %s', async (_what, config, message) => {
    const stream = fresh('odd')
    const to = await testAdmin()
    await to.createStream(
      stream,
      JSON.parse(JSON.stringify({ subjects: ['{}.to.>'], ...config }).replaceAll('{}', stream)),
    )
    const error = await errorOf((await route({ stream, prefix: `${stream}.to`, to })).open())
    expect(codeOf(error)).toBe('OPTION_INVALID')
    expect(String(error)).toMatch(message)
  })

  test('a mirror', async () => {
    const origin = await route()
    const stream = fresh('mirror')
    await origin.to.createStream(stream, { subjects: undefined, mirror: { name: origin.stream } })
    const error = await errorOf((await route({ ...origin, stream })).open())
    expect(String(error)).toMatch(/mirrors another one/)
  })

  test.each(clientNames)('no JetStream for the account, %s', async (client) => {
    const server = await serverWith('accounts { A { users = [ { user: a, password: p } ] } }')
    const connect = { user: 'a', pass: 'p' }
    const to = await testAdmin(server.url, connect)
    const { open } = await route({ url: server.url, to, client, connect, stream: 'S', prefix: 's' })
    const error = await errorOf(open())
    expect(codeOf(error)).toMatch(/^(JETSTREAM_10039|JETSTREAM_10076|NATS_NO_RESPONDERS)$/)
    expect(String(error)).toMatch(/enable/)
  })

  test.each(clientNames)('no permission, %s', async (client) => {
    const server = await serverWith(
      `authorization { users = [
        { user: admin, password: p }
        { user: reader, password: p, permissions: { publish: "$JS.API.>" } }
        { user: nobody, password: p, permissions: { publish: "other" } } ] }`,
    )
    const to = await testAdmin(server.url, { user: 'admin', pass: 'p' })
    const as = (user: string, pass = 'p') =>
      route({ url: server.url, to, client, connect: { user, pass }, stream: 'S', prefix: 's' })
    await to.createStream('S', { subjects: ['s.>'] })
    const denied = await errorOf((await as('nobody')).open())
    expect([codeOf(denied), isRetriable(denied)]).toEqual([expect.stringMatching(/^NATS_.*PERMISSION$/), false])
    const writer = await (await as('reader')).open()
    expect(codeOf(await errorOf(writer.append(events(3), '3')))).toMatch(/^NATS_.*PERMISSION$/)
    expect(await lastSeq(to, 'S')).toBe(0)
    const wrong = await errorOf((await as('reader', 'x')).open())
    expect([codeOf(wrong), isRetriable(wrong)]).toEqual(['NATS_AUTHORIZATION', false])
  })

  test.each(clientNames)('no server, or a connection that reconnects, %s', async (client) => {
    const away = await route({ client, connect: { servers: 'nats://127.0.0.1:1' } })
    expect(codeOf(await errorOf(away.open()))).toBe('NATS_CONNECTION')
    const again = await route({ client, connect: { reconnect: true } })
    expect(String(await errorOf(again.open()))).toMatch(/reconnect/)
  })

  test('options that are wrong', () => {
    const connect = connector('@nats-io v3', 'x')
    const good = { connect, stream: 'S', subject: 's' }
    const wrong: [Partial<JetStreamSinkOptions>, RegExp][] = [
      [{ connect: {} as never }, /connect must be a function/],
      [{ stream: 'a.b' }, /stream must be a name/],
      [{ stream: '' }, /stream must be a name/],
      [{ subject: 'a.>' }, /subject must be one without wildcards/],
      [{ subject: 'a..b' }, /subject must be one without wildcards/],
      [{ maxRefill: -1 }, /maxRefill must be an integer/],
    ]
    for (const [options, message] of wrong) expect(() => jetstreamSink({ ...good, ...options })).toThrow(message)
  })

  test('a mark of another sink', async () => {
    const { open } = await route()
    expect(codeOf(await errorOf(open({ cursor: '1', mark: '17-0/5' })))).toBe('CURSOR_INVALID')
  })
})

describe.each(modes)('sizes, $mode', ({ config }) => {
  test('an event whose headers come near the limit of the server is taken or refused before anything is sent', async () => {
    const { open, ids } = await route({ config })
    const [event] = events(1) as [Event]
    const withHeader = (bytes: number): Event => ({ ...event, headers: { long: 'x'.repeat(bytes) } })
    const error = await errorOf((await open()).append([withHeader(65_535)], '1'))
    expect([codeOf(error), isRetriable(error)]).toEqual(['EVENT_TOO_LARGE', false])
    expect(String(error)).toMatch(/event 1 has 6\d{4} bytes of headers, and the server takes 65535: shorten them/)
    expect(await ids()).toEqual([])
    await (await open()).append([withHeader(64_700)], '1')
    expect(await ids()).toEqual(['1'])
  })

  test('any numbers and sizes of events are appended whole: the limits of the server hold', {
    timeout: 60_000,
  }, async () => {
    const { open, ids } = await route({ config })
    let total = 0
    const part = fc.record({ count: fc.integer({ min: 1, max: 1100 }), bytes: fc.constantFrom(0, 200, 3000) })
    const large = fc.record({ count: fc.integer({ min: 1, max: 4 }), bytes: fc.constantFrom(400_000, 1_000_000) })
    const property = fc.asyncProperty(
      fc.array(fc.oneof(part, large), { minLength: 1, maxLength: 4 }),
      async (parts) => {
        const writer = await open()
        const from = total
        const batch = parts.flatMap(({ count, bytes }) => {
          const some = events(count, { from: total + 1, bytes })
          total += count
          return some
        })
        await writer.append(batch, String(total))
        await writer[Symbol.asyncDispose]()
        expect(Number((await open()).resumeFrom)).toBe(from + batch.length)
      },
    )
    await fc.assert(property, { numRuns: 8, interruptAfterTimeLimit: 30_000, markInterruptAsFailure: false })
    expect(await ids()).toEqual(upTo(total))
  })
})

test('an atomic batch never has more than the server takes, and every message is in one', async () => {
  const message = fc.record({
    id: fc.string(),
    subject: fc.constant('to.1'),
    lines: fc.constantFrom('', 'a: b\r\n'),
    data: fc.constantFrom(0, 10, 5000, 600_000).map((bytes) => new Uint8Array(bytes)),
  })
  const many = fc
    .tuple(message, fc.integer({ min: 1, max: 1500 }))
    .map(([one, n]) => Array.from({ length: n }, () => one))
  const property = fc.asyncProperty(fc.array(many, { minLength: 1, maxLength: 3 }), async (lists) => {
    const batches: { count: number; bytes: number; id: string }[] = []
    let sent = 0
    const see = (data: Uint8Array, headers: Uint8Array): void => {
      const header = (name: string) => new RegExp(`${name}: (.*)\r\n`).exec(Buffer.from(headers).toString())?.[1]
      const [id, at] = [header('Nats-Batch-Id') as string, Number(header('Nats-Batch-Sequence'))]
      if (at === 1) batches.push({ count: 0, bytes: 0, id })
      const batch = batches.at(-1) as { count: number; bytes: number; id: string }
      batch.count++
      batch.bytes += data.length
      expect([at, id]).toEqual([batch.count, batch.id])
      sent++
    }
    const connection = {
      publish: (_: string, data: Uint8Array, { headers }: { headers: Uint8Array }) => see(data, headers),
      request: async (_: string, data: Uint8Array, headers: Uint8Array) => {
        see(data, headers)
        return { seq: sent }
      },
    }
    const messages = lists.flat()
    const last = await atomicPublisher(connection as never, 'w')(messages, { seq: 0n, prefix: undefined })
    expect([sent, last]).toEqual([messages.length, BigInt(messages.length)])
    expect(new Set(batches.map(({ id }) => id)).size).toBe(batches.length)
    for (const { count, bytes } of batches) {
      expect(count).toBeLessThanOrEqual(1000)
      if (count > 1) expect(bytes).toBeLessThanOrEqual(1024 * 1024)
    }
  })
  await fc.assert(property, { numRuns: 30 })
})
