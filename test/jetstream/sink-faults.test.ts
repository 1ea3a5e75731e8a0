import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, inject, test } from 'vitest'
import { codeOf, isRetriable, messageOf } from '../../src/core/errors.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { clientNames, ownServer, testAdmin } from './fixture.ts'
import { frameProxy } from './frame-proxy.ts'
import { atomic, events, modes, ownFolder, pump, restoreOlder, route, upTo } from './sink-route.ts'

/** NATS 2.9 does not answer JetStream's API any more when it has read its configuration anew. */
const reloads = { skip: !atomic }

describe.each(modes)('$mode', ({ config }) => {
  test.each(clientNames)('every reply comes twice: nothing is counted twice, %s', async (client) => {
    const url = await frameProxy(inject('servers').nats, { repeatMessages: true })
    const direct = await route({ config })
    const { open } = await route({ ...direct, url, client })
    const writer = await open()
    await writer.append(events(2500), '2500')
    const saved = await pump(writer, 2510, { from: 2500 })
    const again = await open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['2510', undefined])
    expect(await direct.ids()).toEqual(upTo(2510))
  })

  test('a connection that is half-open in the middle of an append is an error within 5 s, and the next open goes on', async () => {
    const { host, port } = inject('servers').nats
    await using proxy = await tcpProxy({ host, port })
    const direct = await route({ config })
    const through = await route({ ...direct, url: `nats://127.0.0.1:${proxy.port}` })
    const writer = await through.open()
    const saved = await pump(writer, 5)
    const append = errorOf(writer.append(events(5000, { from: 6 }), '5005'), 5000, 'noticing that it is half-open')
    proxy.stall()
    expect(codeOf(await append)).toBe('NATS_CONNECTION')
    const again = await direct.open(saved)
    await pump(again, 5100, { batch: 1000 })
    expect(await direct.ids()).toEqual(upTo(5100))
  })

  test('a slow link only takes longer', { timeout: 30_000 }, async () => {
    const direct = await route({ config })
    const url = await frameProxy(inject('servers').nats, { bytesPerSecond: 1_000_000 })
    const { open } = await route({ ...direct, url })
    await (await open()).append(events(3000, { bytes: 500 }), '3000')
    expect(await direct.ids()).toEqual(upTo(3000))
  })

  test('a stream that is deleted under the writer is an error, then a missing stream; made anew, it is refilled', async () => {
    const { to, stream, open, ids } = await route({ config })
    const writer = await open()
    const saved = await pump(writer, 5)
    const info = (await to.info(stream)).config
    await to.api(`STREAM.DELETE.${stream}`)
    const error = await errorOf(writer.append(events(5, { from: 6 }), '10'))
    expect([codeOf(error), isRetriable(error)]).toEqual(['NATS_NO_RESPONDERS', true])
    const missing = await errorOf(open(saved))
    expect([codeOf(missing), isRetriable(missing)]).toEqual(['JETSTREAM_10059', true])
    await to.createStream(stream, info)
    const again = await open(saved)
    expect([again.resumeFrom, again.repair]).toEqual(['', expect.stringMatching(/made anew.*refilling up to 5 events/)])
    await pump(again, 12)
    expect(await ids()).toEqual(upTo(12))
  })

  test('a stream that loses its tail between two appends is noticed by the next one, and refilled', async () => {
    const { to, stream, open, ids } = await route({ config })
    const writer = await open()
    const saved = await pump(writer, 10)
    await restoreOlder(to, stream, 4)
    const error = await errorOf(writer.append(events(2, { from: 11 }), '12'))
    expect([codeOf(error), isRetriable(error)]).toEqual(['SINK_TAIL_CHANGED', true])
    await pump(await open(saved), 12)
    expect(await ids()).toEqual(upTo(12))
  })

  test('a stream that is sealed under the writer refuses the next append, and then to be opened', async () => {
    const { to, stream, open, ids } = await route({ config })
    const writer = await open()
    const saved = await pump(writer, 5)
    await to.api(`STREAM.UPDATE.${stream}`, { ...(await to.info(stream)).config, sealed: true })
    const error = await errorOf(writer.append(events(5, { from: 6 }), '10'))
    expect([codeOf(error), isRetriable(error)]).toEqual(['JETSTREAM_10109', false])
    expect(messageOf(await errorOf(open(saved)))).toMatch(/the stream is sealed.*choose another one/)
    expect(await ids()).toEqual(upTo(5))
  })

  test.each(clientNames)('a permission that is revoked, and given back, drops nothing, %s', reloads, async (client) => {
    const path = join(await ownFolder(), 'nats.conf')
    const configure = (publish: string): Promise<void> =>
      writeFile(
        path,
        `authorization { users = [
          { user: admin, password: p }
          { user: bridge, password: p, permissions: { publish: [${publish}], subscribe: "_INBOX.>" } } ] }`,
      )
    await configure('"$JS.API.>", "s.>"')
    const server = await ownServer({ args: ['-c', path] })
    const to = await testAdmin(server.url, { user: 'admin', pass: 'p' })
    await to.createStream('S', { subjects: ['s.>'], ...config })
    const as = { url: server.url, to, stream: 'S', prefix: 's', client, connect: { user: 'bridge', pass: 'p' } }
    const { open, ids } = await route(as)
    const writer = await open()
    let saved = await pump(writer, 5)
    const reload = (): boolean => process.kill(server.process.pid, 'SIGHUP')

    await configure('"$JS.API.>"')
    reload()
    let error: unknown
    const isRefused = async (): Promise<boolean> => {
      const at = Number(saved.cursor)
      const outcome = await writer.append(events(1, { from: at + 1 }), `${at + 1}`).catch((reason: unknown) => {
        error = reason
      })
      if (typeof outcome === 'string') saved = { cursor: `${at + 1}`, mark: outcome }
      return outcome === undefined
    }
    await eventually(isRefused, 10_000, 'the refusal')
    expect(codeOf(error)).toMatch(/^(NATS_NO_PERMISSION|NATS_CONNECTION|NATS_AUTHORIZATION)$/)
    const reached = Number(saved.cursor)
    expect(await ids()).toEqual(upTo(reached))
    let still: unknown
    const isNotPermitted = async (): Promise<boolean> => {
      // While it reads its configuration the server may refuse the user altogether.
      const appending = open(saved).then((next) => next.append(events(3, { from: reached + 1 }), `${reached + 3}`))
      still = await errorOf(appending)
      return codeOf(still) === 'NATS_NO_PERMISSION'
    }
    await eventually(isNotPermitted, 10_000, 'the refusal of the next writer')
    expect(isRetriable(still)).toBe(false)
    expect(messageOf(still)).toMatch(/permit the user to publish to s\.\d/)

    await configure('"$JS.API.>", "s.>"')
    reload()
    const goesOn = async (): Promise<boolean> => {
      const outcome = await open(saved)
        .then((next) => pump(next, reached + 5))
        .catch((reason: unknown) => reason)
      return !(outcome instanceof Error)
    }
    await eventually(goesOn, 10_000, 'the permission')
    expect(await ids()).toEqual(upTo(reached + 5))
  })

  test(
    'an account that is out of storage refuses without a hole, and with more of it the next open goes on',
    reloads,
    async () => {
      const path = join(await ownFolder(), 'nats.conf')
      const configure = (mb: number): Promise<void> =>
        writeFile(
          path,
          `accounts { A { jetstream { max_mem: 1MB, max_file: ${mb}MB }, users = [ { user: a, password: p } ] } }`,
        )
      await configure(1)
      const server = await ownServer({ args: ['-c', path] })
      const connect = { user: 'a', pass: 'p' }
      const to = await testAdmin(server.url, connect)
      await to.createStream('S', { subjects: ['s.>'], ...config })
      const { open, ids } = await route({ url: server.url, to, stream: 'S', prefix: 's', connect })
      const error = await errorOf((await open()).append(events(3000, { bytes: 500 }), '3000'))
      // A batch that does not fit is passed over by the server without an answer.
      const code =
        'allow_atomic' in config ? 'NATS_CONNECTION' : expect.stringMatching(/^JETSTREAM_(10002|10028|10047)$/)
      expect([codeOf(error), isRetriable(error)]).toEqual([code, true])
      const reached = (await ids()).length
      expect(reached).toBeLessThan(3000)
      expect(await ids()).toEqual(upTo(reached))
      await configure(100)
      process.kill(server.process.pid, 'SIGHUP')
      const goesOn = async (): Promise<boolean> => {
        const outcome = await open()
          .then((next) => pump(next, 3100, { batch: 1000 }))
          .catch((reason: unknown) => reason)
        return !(outcome instanceof Error)
      }
      await eventually(goesOn, 20_000, 'the storage')
      expect(await ids()).toEqual(upTo(3100))
    },
  )

  test('a disk that loses what a server has confirmed is noticed when the server is back, and refilled', async () => {
    const folder = await ownFolder()
    const server = await ownServer({ args: ['-sd', join(folder, 'store')] })
    const first = await route({ url: server.url, config })
    const saved = await pump(await first.open(), 12)
    await server.process.kill()
    await rm(join(folder, 'store', 'jetstream', '$G', 'streams', first.stream, 'msgs'), { recursive: true })
    await server.process.start()
    const { open, ids } = await route({ url: server.url, stream: first.stream, prefix: first.prefix })
    const writer = await open(saved)
    expect(writer.repair).toMatch(/refilling up to 12 events/)
    await pump(writer, 15)
    expect(await ids()).toEqual(upTo(15))
  })
})
