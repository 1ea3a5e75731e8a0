import { describe, expect, test } from 'vitest'
import { createOnServer } from '../../src/adapters/jetstream/create-on-server.ts'
import { type EnsureStreamOptions, ensureStream } from '../../src/adapters/jetstream/index.ts'
import { connectNats } from '../../src/adapters/jetstream/nats-connection.ts'
import { streamRisks } from '../../src/adapters/jetstream/stream-risks.ts'
import { subjectCounts } from '../../src/adapters/jetstream/subject-counts.ts'
import { codeOf, isRetriable, messageOf } from '../../src/core/errors.ts'
import { errorOf } from '../tools/reader.ts'
import { type Answer, fakeNats, refusal, streamOf } from './fake-nats.ts'

/** A stream that has the configurations one after the other, as often as it is asked, and 3 messages; and what it was updated to. */
function stream(configs: readonly object[], { version = '2.15.0', ts }: { version?: string; ts?: string } = {}) {
  const updates: Readonly<Record<string, unknown>>[] = []
  let asked = 0
  const answer: Answer = (what, body) => {
    if (what === 'STREAM.UPDATE.log') updates.push(body)
    else if (what !== 'STREAM.INFO.log') throw new Error(`nobody asked for ${what}`)
    const config = what === 'STREAM.UPDATE.log' ? body : configs[Math.min(asked++, configs.length - 1)]
    return { ...streamOf(3), ts, config }
  }
  const connect = fakeNats(version, answer)
  return {
    updates,
    ensure: (wanted: Omit<EnsureStreamOptions, 'connect' | 'stream'>) =>
      ensureStream({ connect, stream: 'log', ...wanted }),
  }
}

describe('a source that has more than can be asked for', () => {
  const hub = (api: string): object => ({ name: 'ORDERS', external: { api, deliver: '' } })
  const others: Record<string, object> = {
    external: hub('$JS.a.API'),
    subject_transforms: {
      name: 'ORDERS',
      subject_transforms: [
        { src: 'a', dest: 'b' },
        { src: 'c', dest: 'd' },
      ],
    },
  }
  test.each(Object.entries(others))('is none that was asked for: %s', async (_, other) => {
    const { ensure, updates } = stream([{ sources: [other] }])
    const error = await errorOf(ensure({ sources: [{ stream: 'ORDERS' }] }))
    expect(codeOf(error)).toBe('STREAM_CHANGE_REFUSED')
    expect(messageOf(error)).toContain(`what comes to ORDERS with {"`)
    const mirror = stream([{ mirror: other }])
    expect(codeOf(await errorOf(mirror.ensure({ mirror: { stream: 'ORDERS' } })))).toBe('STREAM_CHANGE_REFUSED')
    expect([...updates, ...mirror.updates]).toEqual([])
  })

  test('is not dropped beside one of the same name', async () => {
    const { ensure, updates } = stream([{ sources: [hub('$JS.a.API'), hub('$JS.b.API')] }])
    const error = await errorOf(ensure({ sources: [{ stream: 'ORDERS' }, { stream: 'NEW' }] }))
    expect(codeOf(error)).toBe('STREAM_CHANGE_REFUSED')
    expect(messageOf(error)).toMatch(/\$JS\.a\.API.*\$JS\.b\.API/)
    expect(updates).toEqual([])
  })

  test('is told, stays as it is when something else changes, and cannot be asked for', async () => {
    const { ensure, updates } = stream([{ sources: [hub('$JS.a.API')], max_msgs: -1 }])
    const { config } = await ensure({ maxMessages: 10 })
    expect(config.sources).toEqual([{ stream: 'ORDERS', other: '{"external":{"api":"$JS.a.API","deliver":""}}' }])
    expect(updates).toMatchObject([{ sources: [hub('$JS.a.API')], max_msgs: 10 }])
    const error = await errorOf(ensure({ sources: config.sources }))
    expect(messageOf(error)).toMatch(/named by stream, subject and start alone/)
  })
})

describe('a change', () => {
  test('is judged anew when somebody else has changed the stream meanwhile', async () => {
    const before = { subjects: ['a'], max_msgs: -1 }
    const after = { subjects: ['a'], max_msgs: -1, max_msg_size: 70 }
    const { ensure, updates } = stream([before, after])
    expect((await ensure({ maxMessages: 10 })).outcome).toBe('updated')
    expect(updates).toEqual([{ ...after, max_msgs: 10 }])
  })

  test('is given up while the stream changes again and again', async () => {
    const { ensure, updates } = stream(Array.from({ length: 9 }, (_, i) => ({ subjects: ['a'], max_msg_size: i + 1 })))
    const error = await errorOf(ensure({ maxMessages: 10 }))
    expect(codeOf(error)).toBe('STREAM_IN_DISPUTE')
    expect(isRetriable(error)).toBe(true)
    expect(updates).toEqual([])
  })

  test('that gives subjects to a stream with a source from a time is refused as together', async () => {
    const sources = [{ name: 'ORDERS', opt_start_time: '2024-01-01T00:00:00Z' }]
    const { ensure, updates } = stream([{ sources }])
    expect(messageOf(await errorOf(ensure({ subjects: ['a'] })))).toMatch(/startTime is for the one source/)
    expect(updates).toEqual([])
    expect((await ensure({ maxMessages: 10 })).outcome).toBe('updated')
  })

  test('of maxAgeMs to less is refused where the server tells no time, whatever the clock here says', async () => {
    const config = { subjects: ['a'], max_age: 3_600_000 * 1e6 }
    const old = stream([config], { version: '2.9.25' })
    const decades = 100 * 365 * 24 * 3_600_000
    expect(codeOf(await errorOf(old.ensure({ maxAgeMs: 1000 })))).toBe('STREAM_CHANGE_REFUSED')
    expect((await old.ensure({ maxAgeMs: 7_200_000 })).outcome).toBe('updated')
    const unlimited = stream([{ subjects: ['a'] }], { version: '2.9.25' })
    expect(codeOf(await errorOf(unlimited.ensure({ maxAgeMs: decades })))).toBe('STREAM_CHANGE_REFUSED')
    const tells = stream([{ subjects: ['a'] }], { ts: '1970-01-01T00:00:05Z' })
    expect(codeOf(await errorOf(tells.ensure({ maxAgeMs: 3000 })))).toBe('STREAM_CHANGE_REFUSED')
    expect((await tells.ensure({ maxAgeMs: 5000 })).outcome).toBe('updated')
  })
})

describe('a new stream', () => {
  async function create(errCodeOf: (replicas: number) => number | undefined) {
    const asked: number[] = []
    const answer: Answer = (_, config) => {
      const replicas = Number(config['num_replicas'])
      asked.push(replicas)
      const errCode = errCodeOf(replicas)
      return errCode === undefined ? { config } : refusal(errCode)
    }
    await using connection = await connectNats(fakeNats('2.15.0', answer), { log: 'nats:log' })
    const error = await errorOf(createOnServer(connection, 'log', { subjects: ['a'] })).catch(() => undefined)
    return { asked, error }
  }

  test('has one replica where the server is alone', async () => {
    expect((await create((replicas) => (replicas > 1 ? 10074 : undefined))).asked).toEqual([3, 1])
  })

  test('is not made of fewer replicas for good because a server is down at the moment', async () => {
    const { asked, error } = await create((replicas) => (replicas > 2 ? 10005 : undefined))
    expect(asked).toEqual([3])
    expect(error).toMatchObject({ code: 'JETSTREAM_10005', retriable: true })
    expect(messageOf(error)).toMatch(/one of them is down/)
  })
})

test('two replicas are noted: neither server can be missed', () => {
  expect(streamRisks({ num_replicas: 2 }, { servers: 3 })).toMatchObject({
    risks: [],
    notes: [expect.stringMatching(/num_replicas is 2/)],
  })
})

describe('the subjects of a stream', () => {
  /** Each page is of the subjects that there are by then. */
  async function pages(subjectsAt: (page: number) => readonly string[]) {
    let page = 0
    const answer: Answer = (_, { offset }) => {
      const all = [...subjectsAt(page++)].sort()
      if (page > 50) throw new Error('it never ends')
      const shown = all.slice(Number(offset), Number(offset) + 2)
      return { total: all.length, state: { subjects: Object.fromEntries(shown.map((subject) => [subject, 1])) } }
    }
    await using connection = await connectNats(fakeNats('2.15.0', answer), { log: 'nats:log' })
    return [...(await subjectCounts(connection, 'log', '>')).keys()].sort()
  }

  test('are all told, over several pages', async () => {
    expect(await pages(() => ['a', 'b', 'c', 'd', 'e'])).toEqual(['a', 'b', 'c', 'd', 'e'])
    expect(await pages(() => [])).toEqual([])
  })

  test('are all told when one that sorts first comes between two pages', async () => {
    const later = ['a', 'b', 'c', 'd', 'e', 'f']
    expect(await pages((page) => (page === 0 ? ['b', 'c', 'd', 'e', 'f'] : later))).toEqual(later)
  })

  test('are all told when one that sorts first goes between two pages', async () => {
    const left = ['b', 'c', 'd', 'e']
    expect(await pages((page) => (page === 0 ? ['a', ...left] : left))).toEqual(expect.arrayContaining(left))
  })

  test('are told also while they change all the time', async () => {
    const found = await pages((page) => ['x', 'y', 'z', ...Array.from({ length: page }, (_, i) => `a${i + 10}`)])
    expect(found).toEqual(expect.arrayContaining(['x', 'y', 'z']))
  })
})
