import { jetstream } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect } from '@nats-io/transport-node'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import { decodeKey, encodeKey } from '../../src/adapters/jetstream/bucket-key.ts'
import { type JetStreamCursors, jetstreamCursors } from '../../src/adapters/jetstream/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually, within } from '../tools/reader.ts'
import { clientNames, connector, ownServer, testAdmin } from './fixture.ts'

/** A bucket that ends with the test. */
async function bucket(): Promise<{ name: string; cursors: JetStreamCursors }> {
  const name = fresh('cursors')
  const cursors = jetstreamCursors({ connect: connector('@nats-io v3'), bucket: name })
  await cursors.createBucket()
  const admin = await testAdmin()
  onTestFinished(async () => void (await admin.api(`STREAM.DELETE.KV_${name}`).catch(() => {})))
  return { name, cursors }
}

/** The bucket as its users' own client sees it. */
async function kvOf(name: string) {
  const connection = await connect({ servers: inject('servers').nats.url })
  onTestFinished(() => connection.close())
  return new Kvm(jetstream(connection)).open(name)
}

/** What a call fails with: one that was sent as the server froze may still be answered. */
async function firstError(call: () => Promise<unknown>): Promise<unknown> {
  for (;;) {
    try {
      await call()
    } catch (error) {
      return error
    }
  }
}

describe('a bucket', () => {
  test('is readable with any client: a key per consumer, whose value is the cursor', async () => {
    const { name, cursors } = await bucket()
    await cursors.set('mailer', '17@2026-11-21T10:36:25Z', '')
    await cursors.reset('audit log', '5')
    const kv = await kvOf(name)
    expect((await kv.get('mailer'))?.string()).toBe('17@2026-11-21T10:36:25Z')
    expect((await kv.get('audit=20log'))?.string()).toBe('5')
  })

  test('takes what an operator puts there with another client, and a deleted key for a reset to ""', async () => {
    const { name, cursors } = await bucket()
    const kv = await kvOf(name)
    await cursors.set('a', '5', '')
    await kv.put('a', '2')
    expect(await cursors.get('a')).toBe('2')
    expect(await errorOf(cursors.set('a', '6', '5'))).toMatchObject({ code: 'CURSOR_CONFLICT', actual: '2' })
    await kv.delete('a')
    expect(await cursors.get('a')).toBe('')
    expect(await errorOf(cursors.set('a', '6', '5'))).toMatchObject({ actual: '', reset: true })
    await cursors.set('a', '1', '')
    expect((await kv.get('a'))?.string()).toBe('1')
    expect(await cursors.list?.()).toEqual(new Map([['a', '1']]))
  })

  test('that is missing is an error that says how to create it, for every call', async () => {
    const name = fresh('nothing')
    for (const client of clientNames) {
      const cursors = jetstreamCursors({ connect: connector(client), bucket: name })
      const calls = [
        () => cursors.get('a'),
        () => cursors.set('a', '1', ''),
        () => cursors.reset('a', '1'),
        () => cursors.list?.() ?? Promise.resolve(),
      ]
      for (const call of calls) {
        const error = await errorOf(call())
        expect(error).toMatchObject({ code: 'JETSTREAM_10059', retriable: false })
        expect(String(error)).toContain('createBucket')
      }
    }
  })

  test('is created once, in files and with one value a key, and left as it is if it is there', async () => {
    const { name, cursors } = await bucket()
    await cursors.set('a', '1', '')
    await cursors.createBucket()
    expect(await cursors.get('a')).toBe('1')
    const status = await (await kvOf(name)).status()
    expect(status).toMatchObject({ bucket: name, history: 1, storage: 'file', values: 1 })
  })

  test('keeps one value a key, however often it is set', async () => {
    const { name, cursors } = await bucket()
    for (let i = 0; i < 5; i++) await cursors.set('a', String(i + 1), i === 0 ? '' : String(i))
    expect(await (await kvOf(name)).status()).toMatchObject({ values: 1 })
  })
})

describe('a key', () => {
  test('is the name of the consumer and back', () => {
    for (const name of [
      '',
      '=',
      'a',
      'a.b',
      '.',
      '$KV',
      'A-Z_/9',
      'ключ',
      '🪵',
      'a b',
      '*',
      '>',
      '=20',
      'a=b',
      '\n',
      '%',
    ]) {
      const key = encodeKey('log', name)
      expect(key).toMatch(/^[-/_=a-zA-Z0-9]+$/)
      expect(decodeKey(key)).toBe(name)
    }
    expect(encodeKey('log', 'ключ')).toBe('=D0=BA=D0=BB=D1=8E=D1=87')
  })

  test('of another client is listed as it is', async () => {
    const { name, cursors } = await bucket()
    await (await kvOf(name)).put('of.others=x', '3')
    expect(await cursors.list?.()).toEqual(new Map([['of.others=x', '3']]))
  })

  test('that would be too long, or text that would be changed on the way, is refused', async () => {
    const { cursors } = await bucket()
    for (const name of ['x'.repeat(2001), '🪵'.repeat(200), 'a\ud800'])
      expect(codeOf(await errorOf(cursors.get(name)))).toBe('OPTION_INVALID')
    expect(codeOf(await errorOf(cursors.set('a', '\ud800', '')))).toBe('OPTION_INVALID')
  })
})

for (const client of clientNames) {
  test(`a server that dies is an error at once, and usable again after its restart, ${client}`, async () => {
    const server = await ownServer()
    const cursors = jetstreamCursors({ connect: connector(client, server.url), bucket: 'c' })
    await cursors.createBucket()
    await cursors.set('a', '1', '')
    await server.process.kill()
    for (const call of [() => cursors.get('a'), () => cursors.set('a', '2', '1'), () => cursors.reset('a', '2')])
      expect(codeOf(await errorOf(call(), 1000, 'noticing the dead server'))).toBe('NATS_CONNECTION')
    await server.process.start()
    expect(await cursors.get('a')).toBe('1')
    await cursors.set('a', '2', '1')
  })

  test(`a server that is frozen is an error in time, ${client}`, async () => {
    const server = await ownServer()
    const cursors = jetstreamCursors({ connect: connector(client, server.url), bucket: 'c' })
    await cursors.createBucket()
    await cursors.set('a', '1', '')
    server.process.freeze()
    try {
      const calls = [() => cursors.set('a', '2', '1'), () => cursors.get('a')].map((call) =>
        within(firstError(call), 5000, 'noticing the frozen server'),
      )
      for (const error of await Promise.all(calls)) expect(codeOf(error)).toBe('NATS_CONNECTION')
    } finally {
      server.process.thaw()
    }
    expect(['1', '2']).toContain(await cursors.get('a')) // it may have arrived
    await cursors.set('a', '2', await cursors.get('a')) // what is remembered from before does not matter
  })
}

test('an abort ends a get at once; no connection stays when nothing is asked', async () => {
  const server = await ownServer()
  let open = 0
  const make = connector('@nats-io v3', server.url)
  const connect = async () => {
    const connection = await make()
    open++
    connection.closed().then(
      () => open--,
      () => {},
    )
    return connection
  }
  const cursors = jetstreamCursors({ connect, bucket: 'c' })
  await cursors.createBucket()
  await Promise.all([cursors.get('a'), cursors.get('b'), cursors.list?.()])
  expect(open).toBe(1)
  await eventually(() => open === 0, 1000, 'no connection is left')
  server.process.freeze()
  try {
    const reason = new Error('enough')
    const controller = new AbortController()
    const getting = errorOf(cursors.get('a', { signal: controller.signal }), 500, 'the abort')
    controller.abort(reason)
    expect(await getting).toBe(reason)
  } finally {
    server.process.thaw()
  }
})

test('options that are wrong are refused', () => {
  const connect = connector('@nats-io v3')
  for (const bucket of ['', 'a.b', 'a b', '*', 'ü', undefined as never])
    expect(() => jetstreamCursors({ connect, bucket })).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  expect(() => jetstreamCursors({ connect: {} as never, bucket: 'c' })).toThrow('connect')
})
