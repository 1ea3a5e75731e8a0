import { expect, test } from 'vitest'
import { redisCursors } from '../../src/adapters/redis/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { adapterClient, cli, ownServer, socketsOf, testClient } from './fixture.ts'

test('cursors are readable with redis-cli: "=" before one that a runner set, "!" before one that was reset', async () => {
  const prefix = `${fresh('c')}:`
  const cursors = redisCursors(adapterClient(), { prefix })
  await cursors.set('mailer', '1700000000000-0', '')
  await cursors.reset('audit', '5')
  expect((await cli('HGETALL', `${prefix}cursors`)).split('\n')).toEqual(['mailer', '=1700000000000-0', 'audit', '!5'])
})

test('the prefix of the client stands before that of the store', async () => {
  const prefix = fresh('c')
  await redisCursors(adapterClient(undefined, { keyPrefix: `${prefix}:` })).set('a', '1', '')
  expect(await cli('HGET', `${prefix}:reflex:cursors`, 'a')).toBe('=1')
})

test('a server that dies is an error at once, and usable again after its restart', async () => {
  const server = await ownServer()
  const cursors = redisCursors(adapterClient(server.url))
  await cursors.set('a', '1', '')
  await server.process.kill()
  for (const call of [() => cursors.get('a'), () => cursors.set('a', '2', '1'), () => cursors.reset('a', '2')])
    expect(codeOf(await errorOf(call(), 1000, 'noticing the dead server'))).toBe('REDIS_CONNECTION')
  await server.process.start()
  expect(await cursors.get('a')).toBe('1')
  await cursors.set('a', '2', '1')
})

test('a server that is frozen is an error in time', async () => {
  const server = await ownServer()
  const cursors = redisCursors(adapterClient(server.url))
  await cursors.set('a', '1', '')
  server.process.freeze()
  try {
    const calls = [cursors.set('a', '2', '1'), cursors.get('a')].map((call) =>
      errorOf(call, 5000, 'noticing the frozen server'),
    )
    for (const error of await Promise.all(calls)) expect(codeOf(error)).toBe('REDIS_CONNECTION')
  } finally {
    server.process.thaw()
  }
  expect(await cursors.get('a')).toBe('2') // it had arrived
})

test('an abort ends a get at once; no connection stays when nothing is asked', async () => {
  const server = await ownServer()
  const admin = testClient(server.url)
  const cursors = redisCursors(adapterClient(server.url))
  await cursors.get('a')
  expect(await socketsOf(admin, 'default')).toBe(1)
  await Promise.all([cursors.get('a'), cursors.get('b'), cursors.list?.()])
  expect(await socketsOf(admin, 'default')).toBe(1)
  await eventually(async () => (await socketsOf(admin, 'default')) === 0, 1000, 'no connection is left')
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

test('a key of another type is final', async () => {
  const prefix = `${fresh('c')}:`
  await testClient().set(`${prefix}cursors`, 'x')
  const error = await errorOf(redisCursors(adapterClient(), { prefix }).set('a', '1', ''))
  expect(error).toMatchObject({ code: 'REDIS_WRONGTYPE', retriable: false })
})
