import { describe, expect, inject, test } from 'vitest'
import {
  type JetStreamSink,
  type JetStreamSinkOptions,
  jetstreamCursors,
  jetstreamSink,
} from '../../src/adapters/jetstream/index.ts'
import { streamRisks } from '../../src/adapters/jetstream/stream-risks.ts'
import { messageOf } from '../../src/core/errors.ts'
import { nats } from '../../src/service/config/schemes/nats.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { hasAtomicBatches } from '../subjects/jetstream.ts'
import { errorOf } from '../tools/reader.ts'
import { connector, testAdmin } from './fixture.ts'

const atomic = hasAtomicBatches(inject('servers').nats.version) ? { allow_atomic: true } : {}

interface Subject {
  readonly stream: string
  /** What the sinks were told. */
  readonly notes: string[]
  sink(options?: Partial<JetStreamSinkOptions>): JetStreamSink
}

/** A stream of its own with these settings. */
async function subject(config: object = {}): Promise<Subject> {
  const to = await testAdmin()
  const stream = fresh('audited')
  await to.createStream(stream, { subjects: [`${stream}.to.>`], ...atomic, ...config })
  const connect = connector('@nats-io v3')
  const notes: string[] = []
  return {
    stream,
    notes,
    sink: (options) =>
      jetstreamSink({ connect, stream, subject: `${stream}.to`, note: (text) => notes.push(text), ...options }),
  }
}

async function openAndClose(sink: JetStreamSink): Promise<void> {
  await (await sink.open({ route: 'r', source: 's' }))[Symbol.asyncDispose]()
}

const risky: Record<string, [config: object, says: RegExp]> = {
  'in memory': [{ storage: 'memory' }, /kept in memory: a restart of the server loses all of it/],
  'that discards old messages above a number': [{ max_msgs: 100 }, /discards old messages.*max_msgs 100/],
  'that discards old messages above a size': [{ max_bytes: 100_000 }, /discards old messages.*max_bytes 100000/],
  'that keeps some messages of a subject': [{ max_msgs_per_subject: 9 }, /max_msgs_per_subject is 9/],
  'that keeps some messages of a subject, although it refuses others': [
    { max_msgs_per_subject: 9, max_msgs: 100, discard: 'new' },
    /^max_msgs_per_subject is 9/,
  ],
  'that keeps nothing without consumers': [{ retention: 'interest' }, /retention is interest/],
}

describe.each(Object.entries(risky))('a stream %s', (_what, [config, says]) => {
  test('is told by audit, and by the first open', async () => {
    const { sink, notes } = await subject(config)
    const ours = sink()
    const found = await ours.audit()
    expect(found).toEqual([expect.stringMatching(says)])
    expect(notes).toEqual([])
    for (let i = 0; i < 2; i++) await openAndClose(ours)
    const told = notes.filter((note) => !note.includes('appending message by message'))
    expect(told).toEqual([`${ours.name}: ${found[0]}`])
  })

  test('is refused if the sink is strict', async () => {
    const { sink } = await subject(config)
    const error = await errorOf(openAndClose(sink({ strict: true })))
    expect(error).toMatchObject({ code: 'DESTINATION_AT_RISK', retriable: false })
    expect(messageOf(error)).toMatch(new RegExp(says.source.replace('^', '')))
  })
})

const safe: Record<string, object> = {
  'with the defaults': {},
  'that refuses what is new when it is full': { discard: 'new', max_msgs: 100, max_bytes: 100_000 },
  'that refuses what is new, also of one subject': {
    discard: 'new',
    max_msgs_per_subject: 9,
    discard_new_per_subject: true,
  },
  'that can be purged, but not deleted from': { deny_delete: true },
}

test.each(Object.entries(safe))('a stream %s is no risk', async (_what, config) => {
  const { sink } = await subject(config)
  expect(await sink().audit()).toEqual([])
  await openAndClose(sink({ strict: true }))
})

test.each([
  ['max_age', { max_age: 3_600_000_000_000 }, /max_age is 3600 s: what is older is removed/],
  ['a work queue', { retention: 'workqueue' }, /retention is workqueue/],
])('%s is told, and not refused: it is meant so', async (_what, config, says) => {
  const { sink, notes } = await subject(config)
  const ours = sink({ strict: true })
  expect(await ours.audit()).toEqual([])
  for (let i = 0; i < 2; i++) await openAndClose(ours)
  expect(notes.filter((note) => says.test(note))).toHaveLength(1)
})

test('several risks are told together, and refused together', async () => {
  const { sink } = await subject({ storage: 'memory', max_msgs: 5, max_age: 1e12 })
  expect(await sink().audit()).toHaveLength(2)
  const message = messageOf(await errorOf(openAndClose(sink({ strict: true }))))
  expect(message).toMatch(/in memory.*; .*max_msgs 5/)
  expect(message).not.toContain('max_age')
})

test('one replica is a risk only where there are more servers', () => {
  expect(streamRisks({ num_replicas: 1 }, { servers: 1 }).risks).toEqual([])
  expect(streamRisks({ num_replicas: 3 }, { servers: 5 }).risks).toEqual([])
  expect(streamRisks({ num_replicas: 1 }, { servers: 3 }).risks).toEqual([
    expect.stringMatching(/num_replicas is 1, in a cluster of at least 3 servers/),
  ])
})

test('a stream that is missing is an error', async () => {
  const sink = jetstreamSink({ connect: connector('@nats-io v3'), stream: fresh('none'), subject: 'x' })
  expect(await errorOf(sink.audit())).toMatchObject({ code: 'JETSTREAM_10059' })
  const signal = AbortSignal.abort(new Error('enough'))
  expect(await errorOf(sink.audit({ signal }))).toBe(signal.reason)
})

describe('a bucket of cursors', () => {
  test('in memory, or with a ttl, is told', async () => {
    const to = await testAdmin()
    const bucket = fresh('audited')
    const cursors = jetstreamCursors({ connect: connector('@nats-io v3'), bucket })
    expect(await cursors.audit()).toEqual([])
    await cursors.createBucket()
    expect(await cursors.audit()).toEqual([])
    const { config } = await to.info(`KV_${bucket}`)
    await to.api(`STREAM.UPDATE.KV_${bucket}`, { ...config, max_age: 3_600_000_000_000 })
    expect(await cursors.audit()).toEqual([expect.stringMatching(/ttl of 3600 s.*idle for so long/)])
    await to.createStream(`KV_${bucket}-2`, { subjects: [`$KV.${bucket}-2.>`], storage: 'memory' })
    const other = jetstreamCursors({ connect: connector('@nats-io v3'), bucket: `${bucket}-2` })
    expect(await other.audit()).toEqual([expect.stringMatching(/kept in memory/)])
  })
})

describe('a route of a configuration', () => {
  const context = { createTables: false, readOnly: true }
  const location = (): { url: string; folder: string } => ({ url: inject('servers').nats.url, folder: '.' })

  test('has what is risky in its check, and refuses it with strict', async () => {
    const { stream } = await subject({ storage: 'memory' })
    const options = { subject: `${stream}.to`, stream }
    await using lax = await nats.roles.sink?.open(location(), options, context)
    expect(await lax?.check?.()).toEqual([expect.stringMatching(/in memory/)])
    await using strict = await nats.roles.sink?.open(location(), { ...options, strict: true }, context)
    expect(await errorOf(strict?.check?.() ?? Promise.resolve())).toMatchObject({ code: 'DESTINATION_AT_RISK' })
    const opening = strict?.part.open({ route: 'r', source: 's' }) ?? Promise.resolve()
    expect(await errorOf(opening)).toMatchObject({ code: 'DESTINATION_AT_RISK' })
  })

  test('creates its stream and its bucket, and checks the bucket', async () => {
    const to = await testAdmin()
    const stream = fresh('made')
    await using sink = await nats.roles.sink?.open(location(), { subject: `${stream}.to`, stream }, context)
    expect(await errorOf(sink?.check?.() ?? Promise.resolve())).toMatchObject({ code: 'JETSTREAM_10059' })
    await sink?.createTables?.()
    expect(await sink?.check?.()).toEqual([])
    await using checkpoints = await nats.roles.checkpoints?.open(location(), { bucket: stream }, context)
    expect(await checkpoints?.check?.()).toEqual([])
    await checkpoints?.createTables?.()
    const { config } = await to.info(`KV_${stream}`)
    await to.api(`STREAM.UPDATE.KV_${stream}`, { ...config, max_age: 3_600_000_000_000 })
    expect(await checkpoints?.check?.()).toEqual([expect.stringMatching(/ttl/)])
  })
})
