import { describe, expect, test } from 'vitest'
import { ensureStream, jetstreamCursors, jetstreamSink } from '../../src/adapters/jetstream/index.ts'
import { codeOf, isRetriable, messageOf } from '../../src/core/errors.ts'
import type { Checkpoint } from '../../src/core/sink.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { connector } from './fixture.ts'
import { type NatsCluster, natsCluster } from './nats-cluster.ts'
import { events, modes, route, upTo } from './sink-route.ts'

const limitMs = 180_000

test.concurrent('a stream and a bucket are kept on three servers unless asked otherwise, and one replica is a risk', {
  timeout: limitMs,
}, async () => {
  const { admin, urls } = await natsCluster()
  const connect = connector('@nats-io v3', urls[0], { servers: urls })
  const stream = fresh('replicated')
  const ensure = (wanted: { replicas?: number } = {}) =>
    ensureStream({ connect, stream, ...wanted, subjects: [`${stream}.>`] })
  expect(await ensure()).toMatchObject({ outcome: 'created', config: { replicas: 3 } })
  expect((await ensure()).outcome).toBe('unchanged')
  await admin.publish(`${stream}.1`)
  const fewer = messageOf(await errorOf(ensure({ replicas: 1 })))
  expect(fewer).toMatch(/replicas is 3 and was to be 1: fewer copies/)

  const single = fresh('single')
  await admin.createStream(single, { subjects: [`${single}.>`], num_replicas: 1 })
  for (let i = 0; i < 5; i++) await admin.publish(`${single}.1`)
  const sink = jetstreamSink({ connect, stream: single, subject: single, strict: true })
  const risk = /num_replicas is 1, in a cluster of at least 3 servers/
  expect(await sink.audit()).toEqual([expect.stringMatching(risk)])
  expect(await errorOf(sink.open({ route: 'r', source: 's' }))).toMatchObject({ code: 'DESTINATION_AT_RISK' })
  const more = await ensureStream({ connect, stream: single, replicas: 3 })
  expect(more).toMatchObject({ outcome: 'updated', config: { replicas: 3 } })
  expect((await admin.info(single)).state.messages).toBe(5)
  expect(await sink.audit()).toEqual([])

  const made = jetstreamSink({ connect, stream: `${stream}-2`, subject: `${stream}-2` })
  await made.createStream()
  expect(await made.audit()).toEqual([])
  const cursors = jetstreamCursors({ connect, bucket: stream })
  await cursors.createBucket()
  expect(await cursors.audit()).toEqual([])
  const lonely = jetstreamCursors({ connect, bucket: `${stream}-1` })
  await lonely.createBucket({ replicas: 1 })
  expect(await lonely.audit()).toEqual([expect.stringMatching(risk)])
  expect(await errorOf(ensureStream({ connect, stream: `${stream}-4`, subjects: ['x'], replicas: 5 }))).toMatchObject({
    code: 'JETSTREAM_10005',
  })
})

interface Fault {
  readonly rounds: number
  /** Resolves with what is to be done when the others have gone on without it. */
  fail(cluster: NatsCluster, stream: string): Promise<() => Promise<void>>
}

const faults: Record<string, Fault> = {
  'is killed with kill -9': {
    rounds: 2,
    fail: async ({ leaderOf }, stream) => {
      const { process } = await leaderOf(stream)
      await process.kill()
      return async () => void (await process.start())
    },
  },
  'steps down': {
    rounds: 5,
    fail: async ({ admin }, stream) => {
      await admin.api(`STREAM.LEADER.STEPDOWN.${stream}`)
      return async () => {}
    },
  },
}
const cases = modes.flatMap(({ mode, config }) =>
  Object.entries(faults).map(([what, fault]) => ({ mode, config, what, ...fault })),
)

describe.concurrent.each(cases)('a leader that $what under load, $mode', ({ config, fail, rounds }) => {
  test('costs no event, and none is there twice', { timeout: limitMs }, async () => {
    const cluster = await natsCluster()
    const { urls, admin } = cluster
    const { open, ids, stream } = await route({
      url: urls[0] as string,
      connect: { servers: urls },
      to: admin,
      config: { ...config, num_replicas: 3 },
    })
    let appended = 0
    let done = false
    let failures = 0
    const forward = async (): Promise<void> => {
      let saved: Checkpoint | undefined
      while (!done) {
        try {
          await using writer = await open(saved)
          for (let at = Number(writer.resumeFrom); !done; ) {
            const part = events(1 + (at % 120), { from: at + 1 }) // some go as a batch, some one bound to the other
            const mark = await writer.append(part, String(at + part.length))
            at += part.length
            saved = { cursor: String(at), mark }
            appended = at
          }
        } catch (error) {
          failures++
          expect(isRetriable(error), String(error)).toBe(true)
          await new Promise((resolve) => setTimeout(resolve, 50)) // as supervise would
        }
      }
    }
    const forwarding = forward()
    forwarding.catch(() => {}) // awaited below
    const reaches = (count: number): Promise<void> =>
      eventually(() => appended >= count, 80_000, `${count} events, of which there are ${appended}`)
    try {
      for (let round = 0; round < rounds; round++) {
        await reaches(appended + 300)
        const mend = await fail(cluster, stream)
        await reaches(appended + 300)
        await mend()
      }
      await reaches(appended + 300)
    } finally {
      done = true
    }
    await forwarding
    expect(failures).toBeGreaterThan(0)
    expect(await ids()).toEqual(upTo(appended))
  })
})

test.each(modes)(
  'trap nats 26: a refused link of a chain ends a stream of several replicas: a writer that is fenced refuses none, $mode',
  { timeout: limitMs },
  async ({ config }) => {
    const { urls, admin } = await natsCluster()
    const url = urls[0] as string
    const { open, ids } = await route({
      url,
      connect: { servers: urls },
      to: admin,
      config: { ...config, num_replicas: 3 },
    })
    const old = await open()
    const saved = { cursor: '5', mark: await old.append(events(5), '5') }
    const now = await open(saved)
    await now.append(events(5, { from: 6 }), '10')
    expect(codeOf(await errorOf(old.append(events(5, { from: 6 }), '10')))).toBe('FENCED')
    await now.append(events(5, { from: 11 }), '15')
    expect(await ids()).toEqual(upTo(15))
  },
)
