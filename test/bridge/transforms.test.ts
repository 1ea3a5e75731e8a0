import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { applyTransform } from '../../src/bridge/apply-transform.ts'
import type { Transform } from '../../src/bridge/transform.ts'
import {
  addHeaders,
  compose,
  EventInvalidError,
  filter,
  keyBy,
  map,
  refuseTombstones,
  typeNames,
  validate,
} from '../../src/bridge/transforms/index.ts'
import type { Event } from '../../src/core/event.ts'
import type { StandardSchema } from '../../src/core/payload.ts'
import { arbitraryEvent } from '../tools/arbitrary-event.ts'

const event: Event = {
  id: '7',
  type: 1,
  foreignId: 'order-1',
  timestamp: 1_767_225_600_000.5,
  metadata: Buffer.from('{"total":12}'),
  headers: { region: 'eu', both: ['a', 'b'] },
}
const events = arbitraryEvent().map((body): Event => ({ ...body, id: '7' }))

/** What a transform throws on an event. */
function thrown(transform: Transform, on: Event = event): unknown {
  try {
    applyTransform(transform, on)
  } catch (error) {
    return error
  }
  throw new Error('nothing was thrown')
}

const invalid = (message: RegExp): unknown =>
  expect.objectContaining({
    code: 'TRANSFORM_INVALID',
    kind: 'fatal',
    eventId: '7',
    message: expect.stringMatching(message),
  })

describe('a transform', () => {
  test.each<[string, () => unknown, RegExp]>([
    [
      'another id',
      () => ({ ...event, id: '8' }),
      /^event 7: a transform must return an event with the same id.*returned another/,
    ],
    ['null', () => null, /returned null/],
    ['a number', () => 7, /returned number/],
    ['a promise', async () => event, /returned a promise, which nobody awaits/],
    ['a promise that rejects', () => Promise.reject(new Error('late')), /returned a promise, which nobody awaits/],
  ])('that returns %s is refused', (_, returned, message) => {
    const transform = returned as Transform
    expect(thrown(transform)).toEqual(invalid(message))
    expect(
      thrown(
        compose(
          (each) => each,
          transform,
          (each) => ({ ...each, id: '7' }),
        ),
      ),
    ).toEqual(invalid(message))
  })

  test('may leave an event out, and what it throws is thrown on', () => {
    const error = new Error('no')
    expect(applyTransform(() => undefined, event)).toBeUndefined()
    expect(
      thrown(() => {
        throw error
      }),
    ).toBe(error)
  })
})

describe('compose', () => {
  const step = fc.constantFrom<Transform>(
    (each) => ({ ...each, type: each.type + 1 }),
    (each) => ({ ...each, foreignId: `${each.foreignId}${each.type}` }),
    (each) => ({ ...each, headers: { ...each.headers, seen: each.foreignId } }),
    (each) => (each.type % 5 === 0 ? undefined : each),
  )
  const steps = fc.array(step, { maxLength: 8 })

  test('is one after the other, however it is nested, and ends with the one that leaves the event out', () => {
    fc.assert(
      fc.property(steps, steps, steps, fc.integer({ min: -9, max: 9 }), (a, b, c, type) => {
        const start = { ...event, type }
        let expected: Event | undefined = start
        for (const transform of [...a, ...b, ...c]) expected &&= transform(expected)
        expect(compose(...a, ...b, ...c)(start)).toEqual(expected)
        expect(compose(compose(...a), compose(compose(...b), ...c))(start)).toEqual(expected)
        expect(start).toEqual({ ...event, type })
      }),
    )
  })

  test('of nothing changes nothing', () => {
    expect(compose()(event)).toBe(event)
  })
})

describe('filter', () => {
  test('keeps the given types, or what its function says true of', () => {
    fc.assert(
      fc.property(events, fc.array(fc.integer()), fc.boolean(), (each, others, isIn) => {
        const types = isIn ? [...others, each.type] : others.filter((type) => type !== each.type)
        expect(filter(types)(each)).toBe(isIn ? each : undefined)
        expect(filter(({ type }) => types.includes(type))(each)).toBe(isIn ? each : undefined)
      }),
    )
  })

  test('takes no answer but true and false, since a promise would keep everything', () => {
    const late = (): boolean => Promise.resolve(false) as unknown as boolean
    expect(thrown(filter(late))).toEqual(invalid(/the function of a filter must return true or false.*a promise/))
    expect(thrown(filter((() => 1) as unknown as () => boolean))).toEqual(invalid(/returned number/))
    expect(() => filter([1, 2 ** 31])).toThrow(/a type must be a 32-bit integer, but one is 2147483648/)
  })
})

describe('map', () => {
  test('replaces parts and keeps the others', () => {
    const changed = { ...event, type: 5, metadata: null }
    expect(map(() => ({ type: 5, metadata: null }))(event)).toEqual(changed)
    expect(map((each) => ({ ...each, type: 5, metadata: null }))(event)).toEqual(changed)
  })

  test.each([
    ['the id', { id: '8' }, /the id not among them, but returned another object/],
    ['nothing', undefined, /returned undefined/],
    ['a promise', Promise.resolve({}), /returned a promise/],
  ])('refuses %s', (_, returned, message) => {
    expect(thrown(map((() => returned) as () => object))).toEqual(invalid(message))
  })
})

describe('templates of headers and keys', () => {
  const headers = { 'type-name': 'order.created', region: 'eu', both: ['a', 'b'] }

  test('hold the parts of an event, and braces that are doubled', () => {
    const text = 'x {id} {type} {typeName} {foreignId} {headers.region} {{type}} {{{type}}}'
    const filled = 'x 7 1 order.created order-1 eu {type} {1}'
    expect(addHeaders({ all: text })({ ...event, headers })?.headers['all']).toBe(filled)
    expect(keyBy(text)({ ...event, headers })?.foreignId).toBe(filled)
  })

  test('of text without places are that text, whatever it is', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', minLength: 1 }), events, (text, each) => {
        const doubled = text.replace(/[{}]/g, '$&$&')
        expect(keyBy(doubled)(each)).toEqual({ ...each, foreignId: text })
        expect(addHeaders({ h: doubled })(each)).toEqual({ ...each, headers: { ...each.headers, h: text } })
      }),
    )
  })

  test('of parts in any order are these parts, one after the other', () => {
    const places = fc.constantFrom(...(['id', 'type', 'foreignId', 'headers.h', 'typeName'] as const))
    fc.assert(
      fc.property(fc.array(places, { minLength: 1 }), events, fc.string(), (fields, each, h) => {
        const whole = { ...each, headers: { h, 'type-name': `n${each.type}` } }
        const parts = { ...whole, 'headers.h': h, typeName: `n${each.type}` }
        const template = fields.map((field) => `{${field}}`).join('/')
        expect(keyBy(template)(whole)?.foreignId).toBe(fields.map((field) => parts[field]).join('/'))
      }),
    )
  })

  test.each([
    ['{typename}', /may hold \{id\}, .* but there is \{typename\} in \{typename\}/],
    ['a{', /but there is \{ in a\{/],
    ['}', /but there is \} in \}/],
    ['{headers.}', /but there is \{headers\.\}/],
    ['', /must be text that is not empty, like orders\.\{type\}, but is ""/],
  ])('like %j are refused', (text, message) => {
    expect(() => keyBy(text)).toThrow(message)
    expect(() => addHeaders({ h: text })).toThrow(message)
  })

  test.each([
    [
      '{typeName}',
      /^event 7: \{typeName\} needs one header "type-name", but the event has none: give its type 1 a name/,
    ],
    ['{headers.tenant}', /needs one header "tenant", but the event has none/],
    ['{headers.both}', /but the event has 2 of them/],
    ['{headers.toString}', /but the event has none/],
  ])('that need what an event lacks throw: %s', (text, message) => {
    const unfilled = {
      code: 'TEMPLATE_UNFILLED',
      eventId: '7',
      kind: 'poison',
      message: expect.stringMatching(message),
    }
    expect(thrown(keyBy(text))).toEqual(expect.objectContaining(unfilled))
  })

  test('a function gives a header or none, and a key', () => {
    const added = addHeaders({ region: ({ type }) => `r${type}`, none: () => undefined, __proto__x: 'y' })(event)
    expect(added?.headers).toEqual({ ...event.headers, region: 'r1', __proto__x: 'y' })
    expect(keyBy(({ type }) => `k${type}`)(event)).toEqual({ ...event, foreignId: 'k1' })
    expect(thrown(addHeaders({ h: (() => 7) as unknown as () => string }))).toEqual(invalid(/the header h must return/))
    expect(thrown(keyBy((() => undefined) as unknown as () => string))).toEqual(invalid(/a key must return a string/))
  })

  test('a header that the wire needs for itself cannot be set', () => {
    expect(() => addHeaders({ 'reflex-source-id': '1' })).toThrow(/"reflex-source-id" cannot be set/)
  })
})

describe('typeNames', () => {
  test('writes the names that there are into a header', () => {
    const named = typeNames({ 1: 'order.created', [-2]: 'x' })
    expect(named(event)).toEqual({ ...event, headers: { ...event.headers, 'type-name': 'order.created' } })
    expect(named({ ...event, type: -2 })?.headers['type-name']).toBe('x')
    const unnamed = { ...event, type: 3 }
    expect(named(unnamed)).toBe(unnamed)
  })

  test.each([
    [{ 1.5: 'x' }, /a type must be a 32-bit integer, but one is 1\.5/],
    [{ order: 'x' }, /but one is order/],
    [{ 1: '' }, /the name of the type 1 must be text that is not empty/],
  ])('refuses %j', (names, message) => {
    expect(() => typeNames(names as Record<number, string>)).toThrow(message)
  })
})

test('refuseTombstones refuses a null payload, and no other', () => {
  expect(refuseTombstones()({ ...event, metadata: Buffer.of() })?.metadata).toHaveLength(0)
  const refused = { code: 'EVENT_TOMBSTONE', kind: 'poison', eventId: '7', retriable: false }
  expect(thrown(refuseTombstones(), { ...event, metadata: null })).toEqual(expect.objectContaining(refused))
})

describe('validate', () => {
  type Validate = StandardSchema['~standard']['validate']
  const standard = (validator: Validate): StandardSchema => ({
    '~standard': { version: 1, vendor: 'plain', validate: validator },
  })
  const numeric = standard((value) =>
    typeof (value as { total?: unknown } | null)?.total === 'number'
      ? { value: { total: 0 } }
      : { issues: [{ message: 'no number', path: ['lines', 0, { key: 'total' }] }, { message: 'not an order' }] },
  )

  test('hands on what its schema accepts, unchanged', () => {
    expect(validate(numeric)(event)).toBe(event)
    expect(validate(numeric, ({ type }) => ({ total: type }))({ ...event, metadata: null })?.id).toBe('7')
  })

  test('names the event, the path and the issue of what it refuses', () => {
    const error = thrown(validate(numeric), { ...event, metadata: Buffer.from('{}') })
    expect(error).toBeInstanceOf(EventInvalidError)
    expect(error).toMatchObject({
      code: 'EVENT_INVALID',
      kind: 'poison',
      eventId: '7',
      message:
        'event 7: expected a payload that its plain schema accepts, but found: lines.0.total: no number; not an order',
      issues: [
        { path: 'lines.0.total', message: 'no number' },
        { path: '', message: 'not an order' },
      ],
    })
  })

  test.each([
    ['not JSON', Buffer.from('{'), /what cannot be decoded: .*JSON/],
    ['not UTF-8', Buffer.of(0x22, 0xff, 0x22), /what cannot be decoded/],
    ['null', null, /not an order/],
  ])('a payload that is %s is refused as well', (_, metadata, message) => {
    const refused = { code: 'EVENT_INVALID', message: expect.stringMatching(message) }
    expect(thrown(validate(numeric), { ...event, metadata })).toEqual(expect.objectContaining(refused))
  })

  test('a schema that answers with a promise, or with what is like one, is refused', () => {
    const promises = [
      async () => ({ value: 1 }),
      async () => {
        throw new Error('late')
      },
      // biome-ignore lint/suspicious/noThenProperty: what is tested
      () => ({ then: () => undefined }) as unknown as Promise<{ value: 1 }>,
    ]
    for (const each of promises) {
      const refused = {
        code: 'OPTION_INVALID',
        message: expect.stringMatching(/plain schema answered with a promise at event 7.*synchronous/),
      }
      expect(thrown(validate(standard(each)))).toEqual(expect.objectContaining(refused))
    }
  })

  test.each([undefined, {}, { '~standard': { version: 2, vendor: 'x', validate: () => ({ value: 1 }) } }])(
    'takes no %j for a schema',
    (schema) => {
      expect(() => validate(schema as StandardSchema)).toThrow(/expected a schema with the interface of/)
    },
  )
})
