import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ensureStream, jetstreamSource } from '../../src/adapters/jetstream/index.ts'
import { codeOf, isRetriable, messageOf } from '../../src/core/errors.ts'
import type { Checkpoint } from '../../src/core/sink.ts'
import { wireNames } from '../../src/core/wire.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, eventually, reader } from '../tools/reader.ts'
import { connector, testAdmin } from './fixture.ts'
import { atomic, events, needsAtomic, pump, type Route, route, upTo } from './sink-route.ts'

/** Routes of one stream, by their prefixes below its name. */
async function routes(prefixes: readonly string[], config: object = {}): Promise<Route[]> {
  const stream = fresh('shared')
  const to = await testAdmin()
  await to.createStream(stream, { subjects: [`${stream}.>`], allow_atomic: true, ...config })
  return Promise.all(prefixes.map((prefix) => route({ stream, prefix: `${stream}.${prefix}`, to })))
}

describe('a shared stream', needsAtomic, () => {
  test('takes routes, strangers, and a route whose prefix is longer than that of none of them', async () => {
    const [a, b] = (await routes(['a', 'b.c'])) as [Route, Route]
    await pump(await a.open(), 7)
    await a.to.publish(`${a.stream}.stranger`)
    await a.to.publish(`${a.stream}.b.d`)
    await pump(await b.open(), 5)
    await pump(await a.open(), 9)
    expect([await a.ids(), await b.ids()]).toEqual([upTo(9), upTo(5)])
  })

  test('of the prefixes a and a.b the longer one is in the way of the other, which says so and loses nothing', async () => {
    const [a, ab] = (await routes(['a', 'a.b'])) as [Route, Route]
    const writer = await a.open()
    const saved = await pump(writer, 5)
    await pump(await ab.open(), 3)
    expect(codeOf(await errorOf(writer.append(events(1, { from: 6 }), '6')))).toBe('FENCED')
    const error = await errorOf(a.open(saved))
    expect([codeOf(error), isRetriable(error)]).toEqual(['SINK_PREFIX_SHARED', false])
    expect(messageOf(error)).toMatch(
      /the subjects under the prefix must be the route's own.*give the route another prefix/,
    )
    await pump(await ab.open(), 4)
    expect(await ab.ids()).toEqual(upTo(4))
  })

  test('any schedule of routes, strangers and lost checkpoints repeats, loses and disorders nothing', {
    timeout: 120_000,
  }, async () => {
    const names = ['a', 'b', 'c.d']
    const step = fc.record({
      who: fc.constantFrom(0, 1, 2),
      count: fc.integer({ min: 1, max: 12 }),
      batch: fc.integer({ min: 1, max: 5 }),
      stranger: fc.boolean(),
      isSaved: fc.boolean(),
    })
    const property = fc.asyncProperty(fc.array(step, { minLength: 2, maxLength: 10 }), async (steps) => {
      const all = await routes(names)
      const saved: (Checkpoint | undefined)[] = []
      const ends = [0, 0, 0]
      for (const { who, count, batch, stranger, isSaved } of steps) {
        const { open, to, stream } = all[who] as Route
        if (stranger) await to.publish(`${stream}.stranger`)
        const writer = await open(saved[who])
        expect([writer.resumeFrom || '0', writer.repair]).toEqual([`${ends[who]}`, undefined])
        ends[who] = (ends[who] as number) + count
        const checkpoint = await pump(writer, ends[who] as number, { batch })
        if (isSaved) saved[who] = checkpoint
        await writer[Symbol.asyncDispose]()
      }
      for (const [i, { ids }] of all.entries()) expect(await ids()).toEqual(upTo(ends[i] as number))
    })
    await fc.assert(property, { numRuns: 25, interruptAfterTimeLimit: 60_000, markInterruptAsFailure: false })
  })

  test('copies what comes from other streams beside the events of the route', async () => {
    const to = await testAdmin()
    const [origin, stream] = [fresh('origin'), fresh('shared')]
    await to.createStream(origin)
    await to.createStream(stream, { subjects: [`${stream}.to.>`], sources: [{ name: origin }], allow_atomic: true })
    const { open, ids } = await route({ stream, prefix: `${stream}.to`, to })
    const writer = await open()
    for (let end = 3; end <= 12; end += 3) {
      await to.publish(`${origin}.x`)
      for (const event of events(3, { from: end - 2 })) await writer.append([event], event.id)
    }
    await eventually(async () => (await to.info(stream)).state.messages === 16, 10_000, 'the copies')
    await pump(await open(), 14)
    expect(await ids()).toEqual(upTo(14))
  })

  test("that copies another route's events under the same subjects is refused: the newest is not of the route", async () => {
    const other = await route({ source: 'another' })
    await pump(await other.open(), 3)
    const stream = fresh('shared')
    await other.to.createStream(stream, {
      subjects: [`${stream}.to.>`],
      sources: [{ name: other.stream, subject_transforms: [{ src: '>', dest: `${stream}.to.>` }] }],
      allow_atomic: true,
    })
    await eventually(async () => (await other.to.info(stream)).state.messages === 3, 10_000, 'the copies')
    const { open } = await route({ stream, prefix: `${stream}.to`, to: other.to })
    expect(codeOf(await errorOf(open()))).toBe('SINK_PREFIX_SHARED')
  })

  test('whose subjects are transformed on the way in is refused', async () => {
    const to = await testAdmin()
    const stream = fresh('transformed')
    await to.createStream(stream, {
      subject_transform: { src: `${stream}.>`, dest: `${stream}.x.>` },
      allow_atomic: true,
    })
    const error = await errorOf((await route({ stream, prefix: stream, to })).open())
    expect(error).toMatchObject({ code: 'OPTION_INVALID' })
    expect(messageOf(error)).toMatch(/subject_transform.*remove it/)
  })
})

describe('an exclusive stream', () => {
  test.each([{ mode: 'atomic' }, { mode: 'message by message' }])(
    'notices a stranger below its prefix at the next append, $mode',
    async ({ mode }) => {
      const config = mode === 'atomic' && atomic ? { allow_atomic: true } : {}
      const { to, prefix, open } = await route({ config })
      const writer = await open()
      await pump(writer, 5)
      await to.publish(`${prefix}.other.more`)
      expect(codeOf(await errorOf(writer.append(events(1, { from: 6 }), '6')))).toBe('FENCED')
      expect(messageOf(await errorOf(open()))).toMatch(/was written by somebody else.*remove what does not belong/)
    },
  )

  test('takes the subjects of its prefix one by one, if they cover every type', async () => {
    const stream = fresh('exclusive')
    const to = await testAdmin()
    await to.createStream(stream, { subjects: [`${stream}.to.*`] })
    const { open, ids } = await route({ stream, prefix: `${stream}.to`, to })
    await pump(await open(), 5)
    expect(await ids()).toEqual(upTo(5))
  })

  test('that was shared becomes exclusive, and the other way round, without a loss', needsAtomic, async () => {
    const stream = fresh('both')
    const to = await testAdmin()
    const own = [`${stream}.to.>`]
    const subjects = (of: string[]) => ensureStream({ connect: connector('@nats-io v3'), stream, subjects: of })
    await subjects(own)
    const { open, ids } = await route({ stream, prefix: `${stream}.to`, to })
    let saved = await pump(await open(), 4)
    await subjects([...own, `${stream}.more`])
    await to.publish(`${stream}.more`)
    saved = await pump(await open(saved), 8)
    await to.api(`STREAM.PURGE.${stream}`, { filter: `${stream}.more` })
    await subjects(own)
    await pump(await open(saved), 12)
    expect(await ids()).toEqual(upTo(12))
  })
})

describe('each type has a subject of its own', () => {
  test('by which a consumer can take one type, on the server', async () => {
    const { stream, prefix, open } = await route()
    await pump(await open(), 9)
    const source = jetstreamSource({ connect: connector('@nats-io v3'), stream, subjects: [`${prefix}.2`] })
    await using all = reader(await source.stream('', { toHead: true }))
    const found = await all.rest()
    expect(found.map(({ type }) => type)).toEqual([2, 2, 2])
    expect(found.map(({ headers }) => headers[wireNames.sourceId])).toEqual(['1', '4', '7'])
  })
})

describe('a mirror of a destination', () => {
  test('has every event under its sequence, and takes none itself', async () => {
    const { to, stream, prefix, open } = await route()
    await pump(await open(), 5)
    const connect = connector('@nats-io v3')
    const copy = fresh('copy')
    await ensureStream({ connect, stream: copy, mirror: { stream } })
    await eventually(async () => (await to.info(copy)).state.messages === 5, 10_000, 'the copies')
    await using all = reader(await jetstreamSource({ connect, stream: copy }).stream('', { toHead: true }))
    expect((await all.rest()).map(({ id, headers }) => [id, headers[wireNames.sourceId]])).toEqual(
      upTo(5).map((id) => [id, id]),
    )
    const error = await errorOf((await route({ stream: copy, prefix, to })).open())
    expect(messageOf(error)).toMatch(/mirrors another one, so that nothing can be published to it: name that one/)
  })
})
