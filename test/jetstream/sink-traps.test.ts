import { jetstream } from '@nats-io/jetstream'
import { connect, headers } from '@nats-io/transport-node'
import { expect, inject, onTestFinished, test } from 'vitest'
import { ensureStream } from '../../src/adapters/jetstream/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { type NatsStored, natsEventOf } from '../subjects/nats-admin.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { clientNames, connector, ownServer, testAdmin } from './fixture.ts'
import { atomic, events, headersOf, lastSeq, modes, needsAtomic, pump, route, upTo } from './sink-route.ts'

/** The client as its users have it. */
async function rawClient(url: string = inject('servers').nats.url) {
  const connection = await connect({ servers: url, reconnect: false })
  onTestFinished(() => connection.close())
  return { connection, js: jetstream(connection) }
}

/** The server's code of a refusal, whoever threw it. */
async function refusal(promise: Promise<unknown>): Promise<number> {
  const error = await errorOf(promise)
  const { code, cause } = Object(error) as { code?: unknown; cause?: { err_code?: number } }
  const found = /"err_code":(\d+)/.exec(String(error))?.[1] ?? cause?.err_code ?? code
  return Number(found)
}

const message = (fields: Readonly<Record<string, string>>): Uint8Array => headersOf(Object.entries(fields))

test('trap nats 8: a chain of Nats-Expected-Last-Msg-Id is refused from a wrong link on, and not before, however many are in flight', async () => {
  const { to, stream, prefix, open, ids } = await route()
  const { js } = await rawClient()
  const links = Array.from({ length: 20 }, (_, i) => ({
    msgID: `m${i}`,
    ...(i === 0 ? {} : { expect: { lastMsgID: i === 10 ? 'wrong' : `m${i - 1}` } }),
  }))
  const outcomes = await Promise.allSettled(links.map((link) => js.publish(`${prefix}.1`, 'x', link)))
  expect(outcomes.map(({ status }) => status === 'fulfilled')).toEqual(links.map((_, i) => i < 10))
  expect(await refusal(js.publish(`${prefix}.1`, 'x', { expect: { lastMsgID: 'm12' } }))).toBe(10070)
  await to.api(`STREAM.PURGE.${stream}`)
  await (await open()).append(events(2500), '2500')
  expect(await ids()).toEqual(upTo(2500))
})

test('trap nats 9: only a sequence that is expected keeps a second writer out: without one both append', async () => {
  const { to, prefix, open, ids } = await route()
  const { js } = await rawClient()
  for (const writer of ['a', 'b']) await js.publish(`${prefix}.1`, writer, { msgID: writer })
  await js.publish(`${prefix}.1`, 'a', { expect: { lastSequence: 2 } })
  expect(await refusal(js.publish(`${prefix}.1`, 'b', { expect: { lastSequence: 2 } }))).toBe(10071)
  await to.api(`STREAM.PURGE.${prefix.slice(0, -3)}`)
  const [one, two] = [await open(), await open()]
  await pump(one, 3)
  expect(codeOf(await errorOf(two.append(events(3), '3')))).toBe('FENCED')
  expect(await ids()).toEqual(upTo(3))
})

test('trap nats 10: the newest message of a subject with wildcards is not found by NATS 2.9 once the newest was deleted', async () => {
  const { to, stream, prefix, open, ids } = await route()
  const saved = await pump(await open(), 5)
  await to.api(`STREAM.MSG.DELETE.${stream}`, { seq: 5 })
  const newest = to.api(`STREAM.MSG.GET.${stream}`, { last_by_subj: `${prefix}.>` })
  if (atomic) expect(await newest).toMatchObject({ message: { seq: 4 } })
  else expect(await refusal(newest)).toBe(10037)
  const writer = await open(saved)
  expect([writer.resumeFrom, writer.repair]).toEqual(['5', undefined])
  await pump(writer, 7)
  expect(await ids()).toEqual(['1', '2', '3', '4', '6', '7'])
})

test('trap nats 25: NATS 2.9 that is asked to purge what is before the first message purges everything', async () => {
  const { to, stream, open, ids } = await route()
  const saved = await pump(await open(), 3)
  await to.api(`STREAM.PURGE.${stream}`, { seq: 1 })
  expect((await to.info(stream)).state.messages).toBe(atomic ? 3 : 0)
  const writer = await open(saved)
  expect([writer.resumeFrom, writer.repair]).toEqual(['3', undefined]) // a purge is no loss
  await pump(writer, 4)
  expect(await ids()).toEqual(atomic ? ['1', '2', '3', '4'] : ['4'])
})

test('trap nats 11: the last sequence of one subject says nothing of the others: writers of two types do not notice each other', async () => {
  const { to, stream, prefix, open, ids } = await route({ config: atomic ? { allow_atomic: true } : {} })
  const bound = (subject: string, seq: number): Promise<string> =>
    to.publish(subject, 'x', message({ 'Nats-Expected-Last-Subject-Sequence': `${seq}` }))
  await bound(`${prefix}.1`, 0)
  await bound(`${prefix}.2`, 0)
  expect(await refusal(bound(`${prefix}.1`, 0))).toBe(10071)
  await to.api(`STREAM.PURGE.${stream}`)
  const [one, two] = [await open(), await open()]
  await one.append(events(1), '1') // of type 2
  expect(codeOf(await errorOf(two.append(events(1, { from: 2 }), '2')))).toBe('FENCED') // of type 3
  expect(await ids()).toEqual(['1'])
})

/** An atomic batch of empty messages; resolves with the server's answer to the last one. */
async function atomicBatch(
  subject: string,
  count: number,
  fieldsOf: (i: number) => Readonly<Record<string, string>> = () => ({}),
): Promise<string> {
  const { connection } = await rawClient()
  const id = fresh('batch')
  const options = (i: number) => {
    const fields = headers()
    fields.set('Nats-Batch-Id', id)
    fields.set('Nats-Batch-Sequence', `${i + 1}`)
    for (const [name, value] of Object.entries(fieldsOf(i))) fields.set(name, value)
    if (i === count - 1) fields.set('Nats-Batch-Commit', '1')
    return { headers: fields }
  }
  for (let i = 0; i < count - 1; i++) connection.publish(subject, '', options(i))
  const answer = await connection.request(subject, '', { ...options(count - 1), timeout: 5000 })
  const reply = answer.json<{ error?: object }>()
  if (reply.error !== undefined) throw new Error(JSON.stringify(reply.error))
  return JSON.stringify(reply)
}

test(
  'trap nats 12: an atomic batch has at most 1,000 messages, and one of 1,001 is refused whole',
  needsAtomic,
  async () => {
    const { to, stream, prefix, open, ids } = await route({ config: { allow_atomic: true } })
    expect(await refusal(atomicBatch(`${prefix}.1`, 1001))).toBe(10199)
    expect(await lastSeq(to, stream)).toBe(0)
    expect(JSON.parse(await atomicBatch(`${prefix}.1`, 1000))).toMatchObject({ seq: 1000, count: 1000 })
    await to.api(`STREAM.PURGE.${stream}`)
    await (await open()).append(events(2001), '2001')
    expect(await ids()).toEqual(upTo(2001))
  },
)

test('trap nats 13: an atomic batch is bound to a sequence by its first message alone', needsAtomic, async () => {
  const { to, stream, prefix, open, ids } = await route({ config: { allow_atomic: true } })
  await to.publish(`${prefix}.1`)
  const bound = (seq: number) => (i: number) => (i === 0 ? { 'Nats-Expected-Last-Sequence': `${seq}` } : {})
  expect(await refusal(atomicBatch(`${prefix}.1`, 3, bound(0)))).toBe(10071)
  await atomicBatch(`${prefix}.1`, 3, bound(1))
  expect(await lastSeq(to, stream)).toBe(4)
  await to.api(`STREAM.PURGE.${stream}`)
  const [one, two] = [await open(), await open()]
  await one.append(events(2), '2')
  expect(codeOf(await errorOf(two.append(events(2), '2')))).toBe('FENCED')
  expect(await ids()).toEqual(upTo(2))
})

test('trap nats 14: an atomic batch takes Nats-Msg-Id but not Nats-Expected-Last-Msg-Id', needsAtomic, async () => {
  const { to, stream, prefix, open } = await route({ config: { allow_atomic: true } })
  await atomicBatch(`${prefix}.1`, 2, (i) => ({ 'Nats-Msg-Id': `a${i}` }))
  const chained = atomicBatch(`${prefix}.1`, 2, (i) => ({
    'Nats-Msg-Id': `b${i}`,
    'Nats-Expected-Last-Msg-Id': i === 0 ? 'a1' : 'b0',
  }))
  expect(await refusal(chained)).toBe(10177)
  await to.api(`STREAM.PURGE.${stream}`)
  await (await open()).append(events(100), '100')
  const sent = (await to.messages(stream)).map((each) => each.headers?.toString() ?? '')
  for (const text of sent) expect(text).not.toMatch(/Nats-Msg-Id|Nats-Expected-Last-Msg-Id/)
})

test('trap nats 15: with Nats-Msg-Id alone, id 5 of one table makes id 5 of another a duplicate that looks acknowledged', async () => {
  const { js } = await rawClient()
  const raw = await route()
  const first = await js.publish(`${raw.prefix}.1`, 'of a', { msgID: '5' })
  const second = await js.publish(`${raw.prefix}.1`, 'of b', { msgID: '5' })
  expect([first.duplicate, second.duplicate, second.seq]).toEqual([false, true, first.seq])
  for (const { config } of modes) {
    const { to, stream, open, ids } = await route({ config })
    await (await open()).append(events(1, { from: 5 }), '5')
    await to.api(`STREAM.PURGE.${stream}`)
    await (await open()).append(events(1, { from: 5 }), '5')
    expect(await ids()).toEqual(['5'])
  }
})

test('trap nats 16: a chain of message ids breaks for good where somebody publishes without one', async () => {
  const { to, prefix, stream, open, ids } = await route()
  const { js } = await rawClient()
  await js.publish(`${prefix}.1`, 'x', { msgID: 'a' })
  await to.publish(`${prefix}.1`)
  for (const lastMsgID of ['a', '2'])
    expect(await refusal(js.publish(`${prefix}.1`, 'x', { msgID: 'b', expect: { lastMsgID } }))).toBe(10070)
  await to.api(`STREAM.PURGE.${stream}`)
  const saved = await pump(await open(), 3)
  await to.publish(`${prefix}.1`)
  await to.api(`STREAM.MSG.DELETE.${stream}`, { seq: Number(await lastSeq(to, stream)) })
  await pump(await open(saved), 6)
  expect(await ids()).toEqual(upTo(6))
})

test('trap nats 17: after a purge the last sequence of a subject is expected to be 0 again', async () => {
  const { to, stream, prefix } = await route()
  const bound = (seq: number | string): Promise<string> =>
    to.publish(`${prefix}.1`, 'x', message({ 'Nats-Expected-Last-Subject-Sequence': `${seq}` }))
  const last = await bound(0)
  await to.api(`STREAM.PURGE.${stream}`)
  expect(await refusal(bound(last))).toBe(10071)
  await bound(0)
  for (const { config } of modes) {
    const ours = await route({ config })
    const saved = await pump(await ours.open(), 3)
    await to.api(`STREAM.PURGE.${ours.stream}`)
    await pump(await ours.open(saved), 5)
    expect(await ours.ids()).toEqual(['4', '5'])
  }
})

test(
  'trap nats 18: a committed atomic batch that is sent again with its message ids is refused, not acknowledged',
  needsAtomic,
  async () => {
    const { to, stream, prefix, open, ids } = await route({ config: { allow_atomic: true } })
    const identified = (i: number) => ({ 'Nats-Msg-Id': `a${i}` })
    await atomicBatch(`${prefix}.1`, 2, identified)
    expect(await refusal(atomicBatch(`${prefix}.1`, 2, identified))).toBe(10201)
    await to.api(`STREAM.PURGE.${stream}`)
    const [one, two] = [await open(), await open()]
    await one.append(events(3), '3')
    expect(codeOf(await errorOf(two.append(events(3), '3')))).toBe('FENCED')
    await pump(await open(), 5) // finds what was committed
    expect(await ids()).toEqual(upTo(5))
  },
)

test(
  'trap nats 19: an atomic batch can be bound to all subjects of a prefix, whoever else writes to the stream',
  needsAtomic,
  async () => {
    const stream = fresh('shared')
    const to = await testAdmin()
    await to.createStream(stream, { allow_atomic: true })
    const bound = (seq: number) => (i: number) =>
      i === 0
        ? {
            'Nats-Expected-Last-Subject-Sequence': `${seq}`,
            'Nats-Expected-Last-Subject-Sequence-Subject': `${stream}.raw.>`,
          }
        : {}
    await to.publish(`${stream}.stranger`)
    await atomicBatch(`${stream}.raw.1`, 2, bound(0))
    await to.publish(`${stream}.stranger`)
    expect(await refusal(atomicBatch(`${stream}.raw.2`, 2, bound(0)))).toBe(10071)
    await atomicBatch(`${stream}.raw.2`, 2, bound(3))
    const { open, ids } = await route({ stream, prefix: `${stream}.to`, to })
    const writer = await open()
    for (const event of events(5)) {
      await writer.append([event], event.id)
      await to.publish(`${stream}.stranger`)
    }
    expect(await ids()).toEqual(upTo(5))
  },
)

test('trap nats 20: header values are trimmed, and newlines and names that are not ASCII refused by the client', async () => {
  const { to, stream, prefix, open } = await route()
  const { js } = await rawClient()
  const fields = headers()
  fields.set('a', ' lead ')
  await js.publish(`${prefix}.1`, 'x', { headers: fields })
  const [stored] = await to.messages(stream)
  expect(stored?.headers?.toString()).toMatch(/a: *lead *\r\n/)
  expect(fields.get('a')).toBe('lead')
  expect(() => headers().set('b', 'line\r\nbreak')).toThrow()
  expect(() => headers().set('größe', '1')).toThrow()
  await to.api(`STREAM.PURGE.${stream}`)
  const ours = { a: ' lead ', b: 'line\r\nbreak', größe: '1' }
  await (await open()).append([{ ...(events(1)[0] as Event), headers: ours }], '1')
  const [message] = await to.messages(stream)
  expect(natsEventOf(message as NatsStored).headers).toMatchObject(ours)
})

test.each(clientNames)('trap nats 21: a connection that is closed fails for ever, %s', async (client) => {
  const server = await ownServer()
  const connectOnce = connector(client, server.url)
  const connection = await connectOnce()
  const { to, stream, prefix, open } = await route({ url: server.url, client })
  const saved = await pump(await open(), 3)
  await server.process.kill()
  await server.process.start()
  await eventually(() => connection.isClosed(), 5000, 'the end of the connection')
  for (let i = 0; i < 3; i++)
    await errorOf(Promise.resolve().then(() => connection.request(`${prefix}.1`, 'x', { timeout: 1000 })))
  await pump(await open(saved), 5) // over a connection of its own
  expect(await lastSeq(to, stream)).toBe(5)
})

test('trap nats 22: servers before 2.11 pass over a setting that they do not know, and say that all went well', async () => {
  const to = await testAdmin()
  const stream = fresh('unknown')
  const creating = to.api<{ config: object }>(`STREAM.CREATE.${stream}`, {
    name: stream,
    subjects: [`${stream}.>`],
    ...(atomic ? { no_such_setting: true } : { allow_atomic: true }),
  })
  if (atomic) expect(await refusal(creating)).toBe(10025)
  else expect(Object.keys((await creating).config)).not.toContain('allow_atomic')
  const ensuring = ensureStream({
    connect: connector('@nats-io v3'),
    stream: `${stream}-2`,
    subjects: [`${stream}-2.>`],
    allowAtomic: true,
  })
  if (atomic) expect((await ensuring).config.allowAtomic).toBe(true)
  else expect(codeOf(await errorOf(ensuring))).toBe('OPTION_INVALID')
})
