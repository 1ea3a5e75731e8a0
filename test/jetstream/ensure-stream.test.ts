import fc from 'fast-check'
import { describe, expect, inject, test } from 'vitest'
import {
  type EnsuredStream,
  type EnsureStreamOptions,
  ensureStream,
  jetstreamCursors,
  jetstreamSink,
  type StreamSettings,
} from '../../src/adapters/jetstream/index.ts'
import { codeOf, messageOf } from '../../src/core/errors.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { hasAtomicBatches } from '../subjects/jetstream.ts'
import type { NatsAdmin } from '../subjects/nats-admin.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { clientNames, connector, testAdmin } from './fixture.ts'

type Wanted = Omit<EnsureStreamOptions, 'connect' | 'stream'>

interface Subject {
  readonly to: NatsAdmin
  readonly stream: string
  ensure(wanted?: Wanted): Promise<EnsuredStream>
  /** Publishes a message to each of the subjects below the stream's name. */
  publish(...subjects: string[]): Promise<void>
  /** The server's own answer. */
  info(): Promise<Info>
}

interface Info {
  readonly config: Readonly<Record<string, unknown>>
  readonly state: { readonly messages: number; readonly first_ts: string }
}

/** A stream that is not there yet. */
async function subject(): Promise<Subject> {
  const to = await testAdmin()
  const stream = fresh('ensured')
  const connect = connector('@nats-io v3')
  return {
    to,
    stream,
    ensure: (wanted = {}) => ensureStream({ connect, stream, ...wanted }),
    publish: async (...subjects) => {
      for (const each of subjects) await to.publish(`${stream}.${each}`, 'x')
    },
    info: async () => (await to.info(stream)) as unknown as Info,
  }
}

const { version } = inject('servers').nats
const hasAtomic = hasAtomicBatches(version)
const older = /^2\.9\./.test(version)

describe('a new stream', () => {
  test.each(clientNames)(
    'is kept in files, without limits, and takes atomic batches where the server has them, %s',
    async (client) => {
      const { stream, info } = await subject()
      const { outcome, config } = await ensureStream({ connect: connector(client), stream, subjects: [`${stream}.>`] })
      expect(outcome).toBe('created')
      expect(config).toEqual({
        subjects: [`${stream}.>`],
        sources: [],
        mirror: undefined,
        retention: 'limits',
        maxAgeMs: 'unlimited',
        maxMessages: 'unlimited',
        maxMessagesPerSubject: 'unlimited',
        maxBytes: 'unlimited',
        maxMessageBytes: 'unlimited',
        discard: 'old',
        discardNewPerSubject: false,
        storage: 'file',
        replicas: 1,
        duplicateWindowMs: 120_000,
        allowAtomic: hasAtomic,
        denyDelete: false,
        denyPurge: false,
      } satisfies StreamSettings)
      const found = (await info()).config
      expect(found).toMatchObject({ storage: 'file', retention: 'limits', max_msgs: -1, max_age: 0, num_replicas: 1 })
      expect(found['allow_atomic'] ?? false).toBe(hasAtomic)
    },
  )

  test('is as it was asked for in every setting', async () => {
    const { stream, ensure, info } = await subject()
    const wanted = {
      subjects: [`${stream}.a.*`, `${stream}.b.>`],
      retention: 'interest',
      maxAgeMs: 400 * 24 * 3_600_000, // more ns than a double can count
      maxMessages: 1000,
      maxMessagesPerSubject: 10,
      maxBytes: 1_000_000,
      maxMessageBytes: 5000,
      discard: 'new',
      discardNewPerSubject: true,
      storage: 'memory',
      replicas: 1,
      duplicateWindowMs: 1500,
      allowAtomic: false,
      denyDelete: true,
      denyPurge: true,
    } as const
    expect(await ensure(wanted)).toMatchObject({ outcome: 'created', config: wanted })
    expect((await info()).config).toMatchObject({
      subjects: wanted.subjects,
      retention: 'interest',
      max_age: 400 * 24 * 3_600_000 * 1e6,
      max_msgs: 1000,
      max_msgs_per_subject: 10,
      max_bytes: 1_000_000,
      max_msg_size: 5000,
      discard: 'new',
      discard_new_per_subject: true,
      storage: 'memory',
      duplicate_window: 1_500_000_000,
      deny_delete: true,
      deny_purge: true,
    })
    expect((await ensure(wanted)).outcome).toBe('unchanged')
  })

  test('has a duplicate window of 2 minutes, or as long as its messages live if that is less', async () => {
    const { stream, ensure } = await subject()
    const { config } = await ensure({ subjects: [`${stream}.>`], maxAgeMs: 1000 })
    expect(config).toMatchObject({ maxAgeMs: 1000, duplicateWindowMs: 1000 })
  })

  test('needs to be told what is in it', async () => {
    const { ensure } = await subject()
    expect(String(await errorOf(ensure()))).toMatch(
      /no such stream: to create it, name its subjects, sources or mirror/,
    )
  })

  test('of subjects that another stream has is refused, with what to do', async () => {
    const one = await subject()
    await one.ensure({ subjects: [`${one.stream}.>`] })
    const two = await subject()
    const error = await errorOf(two.ensure({ subjects: [`${one.stream}.a`] }))
    expect(error).toMatchObject({ code: 'JETSTREAM_10065', retriable: false })
    expect(String(error)).toMatch(/a subject belongs to one stream/)
  })

  test('is made once by two that ask for it at the same moment, and asked for differently it has what both named', async () => {
    for (let round = 0; round < 5; round++) {
      const { stream, ensure, to } = await subject()
      const subjects = [`${stream}.>`]
      await Promise.all([ensure({ subjects, maxMessages: 5 }), ensure({ subjects, maxMessageBytes: 70 })])
      expect(await to.info(stream)).toMatchObject({ config: { max_msgs: 5, max_msg_size: 70 } })
    }
  })
})

describe('an aggregate', () => {
  test('copies from other streams, from a sequence or the beginning, each by one subject at most', async () => {
    const [a, b, all] = [await subject(), await subject(), await subject()]
    for (const each of [a, b]) await each.ensure({ subjects: [`${each.stream}.>`] })
    await a.publish('x', 'y', 'x', 'y', 'x')
    await b.publish('1', '2', '3')
    const { config } = await all.ensure({
      sources: [{ stream: a.stream, subject: `${a.stream}.x`, startSequence: 2n }, { stream: b.stream }],
    })
    expect(config.sources).toHaveLength(2)
    await eventually(async () => (await all.info()).state.messages === 5, 10_000, 'the copies')
    const found = (await all.to.messages(all.stream)).map((message) => message.subject).sort()
    expect(found).toEqual([`${a.stream}.x`, `${a.stream}.x`, ...['1', '2', '3'].map((n) => `${b.stream}.${n}`)].sort())
    expect((await all.ensure({ sources: [...config.sources].reverse() })).outcome).toBe('unchanged')
  })

  test('trap nats 23: a source with a start time skips what is older than the newest message of the copying stream', async () => {
    const [raw, a, b, all, one] = [await subject(), await subject(), await subject(), await subject(), await subject()]
    for (const each of [a, b]) await each.ensure({ subjects: [`${each.stream}.>`] })
    await a.publish('x')
    await b.publish('1')
    const startTime = Date.now() - 60_000
    if (!older) {
      await raw.to.createStream(raw.stream, { subjects: [`${raw.stream}.x`] })
      await raw.publish('x')
      const opt_start_time = new Date(startTime).toISOString()
      const { config } = await raw.info()
      await raw.to.api(`STREAM.UPDATE.${raw.stream}`, { ...config, sources: [{ name: b.stream, opt_start_time }] })
      const newest = async (): Promise<string | undefined> => (await raw.to.messages(raw.stream)).at(-1)?.subject
      const isCopied = async (): Promise<boolean> => {
        await b.publish('new') // the first ones may come before the server has begun
        return (await newest()) === `${b.stream}.new`
      }
      await eventually(isCopied, 10_000, 'the copies')
      expect((await raw.to.messages(raw.stream)).map((message) => message.subject)).not.toContain(`${b.stream}.1`)
    }
    const timed = { stream: b.stream, startTime }
    const refused = { code: 'OPTION_INVALID', message: expect.stringMatching(/startTime is for the one source/) }
    expect(await errorOf(all.ensure({ sources: [{ stream: a.stream }, timed] }))).toMatchObject(refused)
    expect(await errorOf(all.ensure({ subjects: ['x'], sources: [timed] }))).toMatchObject(refused)
    await all.ensure({ subjects: [`${all.stream}.>`] })
    expect(await errorOf(all.ensure({ sources: [timed] }))).toMatchObject(refused)

    expect((await one.ensure({ sources: [timed] })).config.sources).toEqual([timed])
    const first = async (): Promise<string | undefined> => (await one.to.messages(one.stream))[0]?.subject
    await eventually(async () => (await first()) === `${b.stream}.1`, 10_000, 'the copies')
  })

  test('takes another source later, and gives none up', async () => {
    const [a, b, all] = [await subject(), await subject(), await subject()]
    for (const each of [a, b]) await each.ensure({ subjects: [`${each.stream}.>`] })
    await all.ensure({ sources: [{ stream: a.stream }] })
    const both = [{ stream: a.stream }, { stream: b.stream, subject: `${b.stream}.x` }]
    expect(await all.ensure({ sources: both })).toMatchObject({ outcome: 'updated', config: { sources: both } })
    const error = await errorOf(all.ensure({ sources: [{ stream: b.stream, subject: `${b.stream}.x` }] }))
    expect(codeOf(error)).toBe('STREAM_CHANGE_REFUSED')
    expect(String(error)).toContain(`what comes to ${a.stream} would no longer be copied`)
  })

  test('of one stream by two subjects names it twice, which needs server 2.10', async () => {
    const [a, all] = [await subject(), await subject()]
    await a.ensure({ subjects: [`${a.stream}.>`] })
    const sources = ['x', 'y'].map((each) => ({ stream: a.stream, subject: `${a.stream}.${each}` }))
    if (older) {
      expect(String(await errorOf(all.ensure({ sources })))).toMatch(/need server 2\.10 or newer, but this is 2\.9/)
      return
    }
    await all.ensure({ sources })
    await a.publish('x', 'y', 'z')
    await eventually(async () => (await all.info()).state.messages === 2, 10_000, 'the copies')
  })

  test('a mirror has the messages of another stream under their sequences, and stays one', async () => {
    const [a, copy] = [await subject(), await subject()]
    await a.ensure({ subjects: [`${a.stream}.>`] })
    await a.publish('x', 'y')
    const { outcome, config } = await copy.ensure({ mirror: { stream: a.stream } })
    expect([outcome, config.mirror, config.allowAtomic]).toEqual(['created', { stream: a.stream }, false])
    await eventually(async () => (await copy.info()).state.messages === 2, 10_000, 'the copies')
    expect((await copy.ensure({ mirror: { stream: a.stream } })).outcome).toBe('unchanged')
    expect(codeOf(await errorOf(copy.ensure({ mirror: { stream: 'another' } })))).toBe('STREAM_CHANGE_REFUSED')
  })
})

describe('a stream that is there', () => {
  test('is changed in what was named and in nothing else, whoever made it', async () => {
    const { to, stream, ensure, info } = await subject()
    const made = { max_age: 10_000_000_123_000, max_bytes: 5000, allow_rollup_hdrs: true, description: 'of others' }
    await to.createStream(stream, made)
    const before = (await info()).config
    expect((await ensure()).outcome).toBe('unchanged')
    expect((await ensure({ maxMessages: 7, maxBytes: 'unlimited' })).outcome).toBe('updated')
    const { metadata: _, ...after } = (await info()).config
    const { metadata: __, ...expected } = { ...before, max_msgs: 7, max_bytes: -1 } as Info['config']
    expect(after).toEqual(expected)
    expect((await ensure({ maxMessages: 7, maxBytes: 'unlimited' })).outcome).toBe('unchanged')
  })

  test('may get a shorter or longer duplicate window, other limits of size, new subjects, and atomic batches', async () => {
    const { stream, ensure, publish } = await subject()
    await ensure({ subjects: [`${stream}.a`], ...(hasAtomic && { allowAtomic: false }) })
    await publish('a')
    const more = {
      subjects: [`${stream}.*`, `${stream}.b.>`],
      duplicateWindowMs: 200,
      maxMessageBytes: 10,
      maxMessages: 1,
      discard: 'new',
      denyPurge: true,
      ...(hasAtomic && { allowAtomic: true }),
    } as const
    expect(await ensure(more)).toMatchObject({ outcome: 'updated', config: more })
  })

  const dangers: Record<string, [made: Wanted, asked: Wanted, lost: RegExp, byHand: RegExp]> = {
    'another storage': [
      {},
      { storage: 'memory' },
      /storage is file and was to be memory/,
      /make another stream with sources/,
    ],
    'another retention': [{}, { retention: 'interest' }, /retention is limits/, /make another stream with sources/],
    'fewer messages than there are': [
      {},
      { maxMessages: 5 },
      /there are 6 messages, of which the oldest/,
      /nats stream purge/,
    ],
    'fewer messages than there are, even if it refuses what is new': [
      {},
      { maxMessages: 5, discard: 'new' },
      /there are 6 messages, of which the oldest/,
      /nats stream purge/,
    ],
    'fewer messages of a subject than there are': [
      {},
      { maxMessagesPerSubject: 2 },
      /more messages of \S+\.a, of which/,
      /nats stream purge/,
    ],
    'fewer bytes than there are': [{}, { maxBytes: 100 }, /there are \d+ bytes of messages/, /nats stream purge/],
    'a limit of age below that of the oldest message': [
      { duplicateWindowMs: 100 },
      { maxAgeMs: 100 },
      /the oldest message is of 2/,
      /nats stream purge/,
    ],
    'without a subject that has messages': [
      {},
      { subjects: ['{}.a'] },
      /messages of \S+\.b, \S+\.c, and/,
      /stop its publishers/,
    ],
    'removing instead of refusing': [
      { maxMessages: 100, discard: 'new' },
      { discard: 'old' },
      /begin to remove messages/,
      /nats stream edit \S+ --discard old/,
    ],
    'removing instead of refusing, by subject': [
      { maxMessagesPerSubject: 100, discard: 'new', discardNewPerSubject: true },
      { discardNewPerSubject: false },
      /begin to remove messages/,
      /nats stream edit/,
    ],
    'deleting again': [{ denyDelete: true }, { denyDelete: false }, /never takes that back/, /make another stream/],
    'purging again': [{ denyPurge: true }, { denyPurge: false }, /never takes that back/, /make another stream/],
  }
  test.each(Object.entries(dangers))(
    '%s is refused, and nothing is changed',
    async (_what, [made, asked, lost, byHand]) => {
      const { stream, ensure, publish, info } = await subject()
      await ensure({ subjects: [`${stream}.>`], ...made })
      await publish('a', 'a', 'a', 'b', 'b', 'c')
      const { first_ts } = (await info()).state
      await eventually(() => Date.now() - Date.parse(first_ts) > 200, 5000, 'the age of the oldest')
      const before = await info()
      const error = await errorOf(
        ensure({
          ...asked,
          ...(asked.subjects && { subjects: asked.subjects.map((each) => each.replace('{}', stream)) }),
        }),
      )
      expect(error).toMatchObject({ code: 'STREAM_CHANGE_REFUSED', retriable: false })
      expect(messageOf(error)).toMatch(lost)
      expect(messageOf(error)).toMatch(byHand)
      const after = await info()
      expect([after.config, after.state]).toEqual([before.config, before.state])
    },
  )

  test('trap nats 24: a lower limit of a stream removes at once what is above it, and says that all went well', async () => {
    const { to, stream, ensure, publish, info } = await subject()
    await ensure({ subjects: [`${stream}.>`] })
    await publish('a', 'b', 'a', 'b', 'a')
    const asked = { maxMessages: 2 }
    expect(codeOf(await errorOf(ensure(asked)))).toBe('STREAM_CHANGE_REFUSED')
    expect((await info()).state.messages).toBe(5)
    await to.api(`STREAM.UPDATE.${stream}`, { ...(await info()).config, max_msgs: 2 })
    expect((await info()).state.messages).toBe(2)
    expect((await ensure(asked)).outcome).toBe('unchanged')
  })

  test('says all that would be lost at once', async () => {
    const { stream, ensure, publish } = await subject()
    await ensure({ subjects: [`${stream}.>`] })
    await publish('a', 'a')
    const error = messageOf(await errorOf(ensure({ storage: 'memory', maxMessages: 1, maxMessagesPerSubject: 1 })))
    for (const name of ['storage', 'maxMessages ', 'maxMessagesPerSubject']) expect(error).toContain(name)
  })

  test('that is sealed cannot be changed, but is as asked if nothing is', async () => {
    const { to, stream, ensure, info } = await subject()
    await ensure({ subjects: [`${stream}.>`] })
    await to.api(`STREAM.UPDATE.${stream}`, { ...(await info()).config, sealed: true })
    expect((await ensure({ subjects: [`${stream}.>`] })).outcome).toBe('unchanged')
    expect(messageOf(await errorOf(ensure({ maxMessages: 5 })))).toMatch(/sealed.*make another stream/)
  })

  test('a subject without messages may go, and limits above what is there may be set', async () => {
    const { stream, ensure, publish } = await subject()
    await ensure({ subjects: [`${stream}.a`, `${stream}.b`] })
    await publish('a', 'a')
    const age = older ? {} : ({ maxAgeMs: 3_600_000 } as const) // older ones do not tell how old a message is
    const wanted = { subjects: [`${stream}.a`], maxMessages: 2, maxMessagesPerSubject: 2, ...age } as const
    expect((await ensure(wanted)).config).toMatchObject(wanted)
  })
})

describe('what cannot be done is refused', () => {
  test('by an older server: atomic batches', { skip: hasAtomic }, async () => {
    const { stream, ensure, to } = await subject()
    const error = await errorOf(ensure({ subjects: [`${stream}.>`], allowAtomic: true }))
    expect(error).toMatchObject({ code: 'OPTION_INVALID' })
    expect(messageOf(error)).toMatch(/allowAtomic needs server 2\.12 or newer, but this is 2\.9/)
    expect(await errorOf(to.info(stream))).toBeDefined()
    expect((await ensure({ subjects: [`${stream}.>`], allowAtomic: false })).outcome).toBe('created')
  })

  test('by a server that is alone: three replicas', async () => {
    const { stream, ensure } = await subject()
    const error = await errorOf(ensure({ subjects: [`${stream}.>`], replicas: 3 }))
    expect(error).toMatchObject({ code: 'JETSTREAM_10074', retriable: false })
  })

  test('by any server: what contradicts itself', async () => {
    const { stream, ensure } = await subject()
    const error = await errorOf(ensure({ subjects: [`${stream}.>`], maxAgeMs: 1000, duplicateWindowMs: 5000 }))
    expect(error).toMatchObject({ code: 'JETSTREAM_10052', retriable: false })
    expect(messageOf(error)).toMatch(/window can not be larger/)
  })

  const wrong: [Wanted & { stream?: string; connect?: unknown }, RegExp][] = [
    [{ stream: 'a.b' }, /stream must be a name/],
    [{ connect: {} }, /connect must be a function/],
    [{ subjects: [] }, /at least one subject/],
    [{ subjects: ['a b'] }, /subjects must be subjects/],
    [{ sources: [] }, /at least one stream/],
    [{ sources: [{ stream: 'a.b' }] }, /stream of a source must be a name/],
    [{ sources: [{ stream: 'A', subject: ['a', 'b'] as never }] }, /filtered by one subject.*once for each/],
    [{ sources: [{ stream: 'A', subjects: ['a', 'b'] } as never] }, /filtered by one subject/],
    [{ sources: [{ stream: 'A' }, { stream: 'A' }] }, /A is named twice/],
    [{ sources: [{ stream: 'A', startSequence: 1n, startTime: 5 }] }, /both are given/],
    [{ sources: [{ stream: 'A', startSequence: 0n }] }, /startSequence must be/],
    [{ sources: [{ stream: 'A', startTime: Number.NaN }] }, /startTime must be epoch ms/],
    [{ mirror: { stream: 'A' }, subjects: ['a'] }, /a mirror has all its messages from one stream/],
    [{ retention: 'all' as never }, /retention must be one of limits, interest, workqueue/],
    [{ discard: 'none' as never }, /discard must be one of/],
    [{ storage: 'disk' as never }, /storage must be one of/],
    [{ allowAtomic: 1 as never }, /allowAtomic must be one of/],
    [{ maxMessages: 0 }, /maxMessages must be a positive integer or "unlimited"/],
    [{ maxAgeMs: 1.5 }, /maxAgeMs must be a positive integer/],
    [{ replicas: -1 }, /replicas must be a positive integer/],
    [{ duplicateWindowMs: 'unlimited' as never }, /duplicateWindowMs must be a positive integer/],
  ]
  test.each(wrong.map(([options, message]) => [String(message), options, message] as const))(
    'by nobody: %s',
    async (_, options, message) => {
      const connect = (): never => {
        throw new Error('nothing is sent')
      }
      const error = await errorOf(ensureStream({ connect, stream: 'S', ...options } as EnsureStreamOptions))
      expect(codeOf(error)).toBe('OPTION_INVALID')
      expect(messageOf(error)).toMatch(message)
    },
  )
})

test('an abort ends it at once', async () => {
  const signal = AbortSignal.abort(new Error('enough'))
  expect(await errorOf(ensureStream({ connect: connector('@nats-io v3'), stream: 'S', signal }))).toBe(signal.reason)
})

test('any sequence of calls that are accepted loses no message, and ends as asked for', {
  timeout: 120_000,
}, async () => {
  const to = await testAdmin()
  const connect = connector('@nats-io v3')
  const limit = fc.constantFrom<StreamSettings['maxMessages'][]>('unlimited', 1, 2, 3, 5, 10)
  const some = <T>(of: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(of, { nil: undefined, freq: 2 })
  const wanted = fc.record({
    subjects: some(fc.subarray(['a', 'b', 'c.>', '*'], { minLength: 1 })),
    maxMessages: some(limit),
    maxMessagesPerSubject: some(limit),
    maxBytes: some(fc.constantFrom<StreamSettings['maxBytes'][]>('unlimited', 60, 150, 1000)),
    maxAgeMs: some(fc.constantFrom<StreamSettings['maxAgeMs'][]>('unlimited', 3_600_000, 7_200_000)),
    maxMessageBytes: some(fc.constantFrom<StreamSettings['maxMessageBytes'][]>('unlimited', 100)),
    discard: some(fc.constantFrom('old', 'new')),
    discardNewPerSubject: some(fc.boolean()),
    storage: some(fc.constantFrom('file', 'memory')),
    retention: some(fc.constantFrom('limits', 'interest', 'workqueue')),
    duplicateWindowMs: some(fc.constantFrom(100, 120_000)),
    denyDelete: some(fc.boolean()),
    ...(hasAtomic ? { allowAtomic: some(fc.boolean()) } : {}),
  })
  const step = fc.oneof(
    { weight: 2, arbitrary: fc.record({ ensure: wanted }) },
    { weight: 1, arbitrary: fc.record({ publish: fc.constantFrom('a', 'b', 'c.d') }) },
  )
  let accepted = 0
  let refused = 0
  const property = fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 12 }), async (steps) => {
    const stream = fresh('ensured')
    const ensure = (options: Wanted): Promise<EnsuredStream> => ensureStream({ connect, stream, ...options })
    await ensure({ subjects: ['a', 'b', 'c.>'].map((each) => `${stream}.${each}`) })
    const stored = async (): Promise<number[]> => (await to.messages(stream)).map(({ seq }) => seq)
    for (const each of steps) {
      if ('publish' in each) {
        await to.publish(`${stream}.${each.publish}`, 'x').catch(() => {}) // it may be full, or not take that subject
        continue
      }
      const { subjects, ...rest } = each.ensure
      const options = {
        ...rest,
        ...(subjects && { subjects: subjects.map((one) => `${stream}.${one}`) }),
      } as Wanted
      const [before, config] = [await stored(), (await to.info(stream)).config]
      try {
        const { config: found } = await ensure(options)
        accepted++
        for (const [name, value] of Object.entries(options))
          if (value !== undefined) expect([name, found[name as keyof StreamSettings]]).toEqual([name, value])
        expect((await ensure(options)).outcome).toBe('unchanged')
      } catch (error) {
        refused++
        expect(codeOf(error)).toMatch(/^(STREAM_CHANGE_REFUSED|JETSTREAM_10052|OPTION_INVALID)$/)
        expect((await to.info(stream)).config).toEqual(config)
      }
      expect(await stored()).toEqual(before)
    }
  })
  await fc.assert(property, { numRuns: 40, interruptAfterTimeLimit: 90_000, markInterruptAsFailure: false })
  expect(accepted).toBeGreaterThan(20)
  expect(refused).toBeGreaterThan(20)
})

describe('a stream of a sink, and a bucket of cursors', () => {
  test('are created once, in safe settings, and left as they are', async () => {
    const { to, stream, info } = await subject()
    const sink = jetstreamSink({ connect: connector('@nats-io v3'), stream, subject: `${stream}.to` })
    await sink.createStream()
    expect((await info()).config).toMatchObject({ subjects: [`${stream}.to.>`], storage: 'file', num_replicas: 1 })
    expect((await info()).config['allow_atomic'] ?? false).toBe(hasAtomic)
    await (await sink.open({ route: 'r', source: 's' }))[Symbol.asyncDispose]()
    await to.api(`STREAM.UPDATE.${stream}`, { ...(await info()).config, max_msgs: 3 })
    await sink.createStream()
    expect((await info()).config).toMatchObject({ max_msgs: 3 })

    const bucket = fresh('cursors')
    const cursors = jetstreamCursors({ connect: connector('@nats-io v3'), bucket })
    await cursors.createBucket()
    expect(await to.info(`KV_${bucket}`)).toMatchObject({ config: { num_replicas: 1, storage: 'file' } })
  })
})
