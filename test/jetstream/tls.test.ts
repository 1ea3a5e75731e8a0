import { inspect } from 'node:util'
import { describe, expect, inject, test } from 'vitest'
import { jetstreamCursors, jetstreamSink, jetstreamSource } from '../../src/adapters/jetstream/index.ts'
import { codeOf, isRetriable, messageOf } from '../../src/core/errors.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { testCertificate } from '../tools/test-certificate.ts'
import { type ClientName, clientNames, connector, ownServer, testAdmin } from './fixture.ts'

const PASSWORD = 'correct horse'

/** A server that takes only TLS, and only its user; resolves with what a client needs. */
async function secureServer(): Promise<{ url: string; login: { user: string; pass: string; tls: { ca: string } } }> {
  const { certificateFile, keyFile, authority } = testCertificate
  const args = ['--tls', '--tlscert', certificateFile, '--tlskey', keyFile, '--user', 'bridge', '--pass', PASSWORD]
  const { url } = await ownServer({ args })
  return { url, login: { user: 'bridge', pass: PASSWORD, tls: { ca: authority } } }
}

describe.each(clientNames)('a user and a password over TLS, %s', (client: ClientName) => {
  test('source, sink and cursors work', async () => {
    const { url, login } = await secureServer()
    const admin = await testAdmin(url, login)
    await admin.createStream('log')
    const connect = connector(client, url, login)

    const event = { id: '1', type: 7, foreignId: 'a', timestamp: 0, metadata: null, headers: {} }
    await using writer = await jetstreamSink({ connect, stream: 'log', subject: 'log' }).open({
      route: 'r',
      source: 's',
    })
    await writer.append([event], '1')
    const source = jetstreamSource({ connect, stream: 'log' })
    await using all = reader(await source.stream('', { toHead: true }))
    expect(await all.rest()).toMatchObject([{ type: 7, foreignId: 'a' }])
    expect(await source.head?.()).toBe('1')

    const cursors = jetstreamCursors({ connect, bucket: 'cursors' })
    await cursors.createBucket()
    await cursors.set('reader', all.cursor, '')
    expect(await cursors.get('reader')).toBe(all.cursor)
  })

  test('what is wrong with it is said at once, without the password', async () => {
    const { url, login } = await secureServer()
    const opening = (options: object, server = url): Promise<unknown> => {
      const source = jetstreamSource({ connect: connector(client, server, options), stream: 'log' })
      return errorOf(source.stream('', {}), 5000)
    }
    const errors = {
      password: await opening({ ...login, pass: 'wrong horse' }),
      authority: await opening({ ...login, tls: {} }),
      plain: await opening(login, inject('servers').nats.url),
    }
    for (const error of Object.values(errors)) expect(inspect(error, { depth: 9 })).not.toMatch(/horse/)
    expect(codeOf(errors.password)).toBe('NATS_AUTHORIZATION')
    for (const error of [errors.authority, errors.plain]) {
      expect([codeOf(error), isRetriable(error)]).toEqual(['NATS_TLS', false])
      expect(messageOf(error)).toMatch(/tls: \{ ca \}/)
    }
  })
})
