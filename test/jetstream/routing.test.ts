import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { JetStreamSinkOptions } from '../../src/adapters/jetstream/index.ts'
import { routeSubject } from '../../src/adapters/jetstream/route-subject.ts'
import { checkSubjects, covers } from '../../src/adapters/jetstream/subjects.ts'
import { codeOf, isRetriable, messageOf } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import { addHeader, decodeHeaderText } from '../../src/core/wire.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { arbitraryEvent } from '../tools/arbitrary-event.ts'
import { errorOf } from '../tools/reader.ts'
import { testAdmin } from './fixture.ts'
import { events, modes, needsAtomic, pump, type Route, route, upTo } from './sink-route.ts'

const event: Event = { id: '7', type: 1, foreignId: 'o.1', timestamp: 0, metadata: null, headers: {} }
const subjectOf = (subject: JetStreamSinkOptions['subject'], parts: Partial<Event> = {}): string =>
  routeSubject('log', subject).of({ ...event, ...parts })

describe('the option subject', () => {
  test('is a prefix, a template or a function', () => {
    expect(subjectOf('shop.orders')).toBe('shop.orders.1')
    expect(subjectOf('shop.orders', { type: -3 })).toBe('shop.orders.-3')
    expect(subjectOf('shop.{type}.of-{foreignId}.v2')).toBe('shop.1.of-o%2E1.v2')
    expect(subjectOf('shop.{typeName}', { headers: { 'type-name': 'order.paid' } })).toBe('shop.order.paid')
    expect(subjectOf('shop.{headers.region}.{id}', { headers: { region: 'eu west' } })).toBe('shop.eu%20west.7')
    expect(subjectOf('shop.{{{type}}}')).toBe('shop.{1}')
    expect(subjectOf({ prefix: 'shop', of: ({ type }) => `x.${type}` })).toBe('shop.x.1')
  })

  test.each([
    ['', /subject must be one without wildcards/],
    ['shop.*', /subject must be one without wildcards/],
    ['{type}.shop', /must begin with a token of the route's own, like orders\.\{type\}/],
    ['shop-{type}', /must begin with a token of the route's own/],
    ['shop..{type}', /must begin with a token of the route's own/],
    ['shop.{type}.', /must begin with a token of the route's own/],
    ['shop.{type}.>', /its tokens must have no wildcards and spaces/],
    ['shop.{types}', /may hold \{id\}, \{type\}, .*but there is \{types\} in shop\.\{types\}/],
    ['shop.{type', /but there is \{ in/],
    [7, /subject must be one without wildcards.*but is 7/],
    [{ prefix: 'shop.>', of: () => '1' }, /subject must be one without wildcards/],
    [{ prefix: 'shop' }, /subject\.of must be a function that returns what follows shop/],
  ])('%j is refused', (subject, message) => {
    expect(() => routeSubject('log', subject as string)).toThrow(message)
  })

  test.each([
    ['an empty value as a token', 'shop.{foreignId}', { foreignId: '' }],
    ['a name with an empty token', 'shop.{typeName}', { headers: { 'type-name': 'a..b' } }],
    ['a subject that is too long', 'shop.{foreignId}', { foreignId: 'x'.repeat(3000) }],
    ["a function's space", { prefix: 'shop', of: () => 'a b' }, {}],
    ["a function's wildcard", { prefix: 'shop', of: () => 'a.>' }, {}],
    ["a function's nothing", { prefix: 'shop', of: () => '' }, {}],
    ['what is no string', { prefix: 'shop', of: (() => undefined) as unknown as () => string }, {}],
  ])('%s is an error of the event', (_, subject, parts) => {
    expect(() => subjectOf(subject, parts)).toThrow(
      expect.objectContaining({ code: 'EVENT_UNROUTABLE', eventId: '7', retriable: false }),
    )
  })

  test('any event of any template gets a subject that NATS takes, below the prefix, and of what the stream was asked for', () => {
    const token = fc.constantFrom('{type}', '{foreignId}', '{id}', '{headers.h}', 'x', 'a-{type}-b', '+{foreignId}{id}')
    const tokens = fc.array(fc.oneof(token, fc.constant('{typeName}')), { minLength: 1, maxLength: 4 })
    const names = fc.array(fc.string({ unit: 'binary', minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 3 })
    const foreignIds = fc.string({
      unit: fc.constantFrom('a', '.', '*', '>', ' ', '%', '"', '\n', 'é', '🪵'),
      maxLength: 9,
    })
    const noDots = names.map((parts) => parts.map((part) => part.replaceAll('.', '-')).join('.'))
    fc.assert(
      fc.property(tokens, arbitraryEvent({ foreignIds }), noDots, (template, body, name) => {
        const headers: Record<string, string> = { h: `<${body.foreignId}` }
        addHeader(headers, 'type-name', name)
        const routed = routeSubject('log', `shop.out.${template.join('.')}`)
        const whole: Event = { ...body, id: '12', foreignId: `f${body.foreignId}`, headers }
        if (template.every((each) => each === 'x')) return
        const subject = routed.of(whole)
        checkSubjects('log', [subject])
        expect(subject).not.toMatch(/[*>]|[^\x21-\x7e]/)
        expect(subject.startsWith(`${routed.prefix}.`)).toBe(true)
        expect([covers(routed.pattern, subject), routed.gives(subject)]).toEqual([true, true])
        if (template.length === 1 && template[0] === '{foreignId}')
          expect(decodeHeaderText(subject.slice('shop.out.'.length))).toBe(whole.foreignId)
      }),
    )
  })
})

/** Each event with a header, by which it is routed. */
const routed = (count: number, from = 1): Event[] =>
  events(count, { from }).map((each) => ({ ...each, headers: { region: Number(each.id) % 2 ? 'eu' : 'us.east' } }))

describe.each(modes)('a sink with a subject per event, $mode', ({ config }) => {
  const open = async (subject = '{headers.region}.{type}.{foreignId}'): Promise<Route> => {
    const made = await route({ config })
    return { ...made, open: (saved, more) => made.open(saved, { subject: `${made.prefix}.${subject}`, ...more }) }
  }

  test('keeps the order over all subjects, and goes on behind what a crash has left', async () => {
    const made = await open()
    const writer = await made.open()
    const saved = { cursor: '4', mark: await writer.append(routed(4), '4') }
    await writer.append(routed(5, 5), '9') // its checkpoint is not saved
    const after = await made.open(saved)
    expect([after.resumeFrom, after.repair]).toEqual(['9', undefined])
    await after.append(routed(3, 10), '12')
    expect(await made.ids()).toEqual(upTo(12))
    const subjects = (await made.to.messages(made.stream)).map(({ subject }) => subject.slice(made.prefix.length + 1))
    expect(subjects.slice(0, 3)).toEqual(['eu.2.e1', 'us%2Eeast.3.e2', 'eu.1.e3'])
  })

  test('of two writers, the one that opened last goes on, and the other is fenced, whichever subject comes next', async () => {
    const made = await open()
    const first = await made.open()
    await first.append(routed(2), '2')
    const second = await made.open()
    await second.append(routed(1, 3), '3')
    expect(codeOf(await errorOf(first.append(routed(1, 4), '4')))).toBe('FENCED')
    await second.append(routed(2, 4), '5')
    expect(await made.ids()).toEqual(upTo(5))
  })

  test('refills what the stream has lost, over all subjects', async () => {
    const made = await open()
    const writer = await made.open()
    const saved = { cursor: '6', mark: await writer.append(routed(6), '6') }
    const { config: as } = await made.to.info(made.stream)
    await made.to.api(`STREAM.DELETE.${made.stream}`)
    await made.to.createStream(made.stream, as)
    const after = await made.open(saved)
    expect([after.resumeFrom, after.repair]).toEqual(['', expect.stringContaining('refilling up to 6 events')])
  })

  test('an event that cannot be routed is refused before anything of its batch is appended', async () => {
    const made = await open('{foreignId}')
    const writer = await made.open()
    const batch = [...routed(2), ...routed(1, 3).map((each) => ({ ...each, foreignId: '' }))]
    expect(codeOf(await errorOf(writer.append(batch, '3')))).toBe('EVENT_UNROUTABLE')
    expect(await made.ids()).toEqual([])
  })

  test('another template is taken where the checkpoint says whose the newest message is, and refused where nothing does', async () => {
    const made = await open()
    const saved = { cursor: '3', mark: await (await made.open()).append(routed(3), '3') }
    const changed = { subject: `${made.prefix}.{type}` }
    const error = await errorOf(made.open(undefined, changed))
    expect([codeOf(error), isRetriable(error)]).toEqual(['SINK_PREFIX_SHARED', false])
    expect(messageOf(error)).toMatch(
      /to none of the route's subjects, so that another route wrote it, or this one before/,
    )
    const writer = await made.open(saved, changed)
    expect(writer.resumeFrom).toBe('3')
    await pump(writer, 6) // its checkpoints are not saved
    expect(codeOf(await errorOf(made.open(saved)))).toBe('SINK_PREFIX_SHARED')
    expect(await made.ids()).toEqual(upTo(6))
  })
})

describe('a stream', () => {
  test('that does not take the subjects of the template is refused, and says which', async () => {
    const stream = fresh('narrow')
    const to = await testAdmin()
    await to.createStream(stream, { subjects: [`${stream}.to.*`] })
    const made = await route({ stream, prefix: `${stream}.to`, to })
    const error = await errorOf(made.open(undefined, { subject: `${stream}.to.{type}.{foreignId}` }))
    expect(messageOf(error)).toMatch(/events go to \S+\.to\.\*\.\*, but the stream takes \S+\.to\.\*: add \S+\.to\.>/)
  })

  test('shared with others counts the events of the route, whatever their subjects', needsAtomic, async () => {
    const stream = fresh('shared')
    const to = await testAdmin()
    await to.createStream(stream, { subjects: [`${stream}.>`], allow_atomic: true })
    const { open } = await route({ stream, prefix: `${stream}.a`, to })
    await to.publish(`${stream}.other`)
    const options = { subject: `${stream}.a.{foreignId}` }
    await (await open(undefined, options)).append(events(30), '30')
    const mark = await (await open(undefined, options)).append([], '30')
    expect(mark).toMatch(/^31\/30\//)
  })

  test('shared by two routes of one source under one prefix refuses the second', needsAtomic, async () => {
    const stream = fresh('shared')
    const to = await testAdmin()
    await to.createStream(stream, { subjects: [`${stream}.>`], allow_atomic: true })
    const { open } = await route({ stream, prefix: `${stream}.a`, to })
    await pump(await open(undefined, { subject: `${stream}.a.{type}.x` }), 3)
    const error = await errorOf(open(undefined, { subject: `${stream}.a.{type}.y` }))
    expect(codeOf(error)).toBe('SINK_PREFIX_SHARED')
  })
})
