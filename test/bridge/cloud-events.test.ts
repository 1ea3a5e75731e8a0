import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeMessage } from '../../src/adapters/jetstream/encode-message.ts'
import { encodeRecord } from '../../src/adapters/kafka/codec.ts'
import { cloudEvents, compose, readCloudEvents, typeNames } from '../../src/bridge/transforms/index.ts'
import type { Event, Headers } from '../../src/core/event.ts'
import { arbitraryEvent, comparable } from '../tools/arbitrary-event.ts'

const event: Event = {
  id: '7',
  type: 1,
  foreignId: 'order "1" for €5',
  timestamp: Date.UTC(2026, 10, 21, 10, 36, 25, 123) + 0.456,
  metadata: Buffer.from('{}'),
  headers: { region: 'eu' },
}
const source = '/shop/orders'
const named = compose(typeNames({ 1: 'com.shop.order.created' }), cloudEvents({ binding: 'kafka', source }))
const bindings = ['kafka', 'nats'] as const

/** The attributes in the headers of an event, without their prefix. */
const attributesOf = (headers: Headers, prefix: string): object =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (name.startsWith(prefix) ? [[name.slice(3), value]] : [])),
  )

describe('cloudEvents', () => {
  test('writes the attributes as the binding of Kafka has them', () => {
    expect(named(event)).toEqual({
      ...event,
      headers: {
        region: 'eu',
        'type-name': 'com.shop.order.created',
        ce_id: '7',
        ce_source: '/shop/orders',
        ce_specversion: '1.0',
        ce_type: 'com.shop.order.created',
        ce_time: '2026-11-21T10:36:25.123456Z',
        ce_subject: 'order "1" for €5',
        'content-type': 'application/json',
      },
    })
  })

  test('writes them as the binding of NATS has them, percent-encoded on the wire', () => {
    const made = cloudEvents({ binding: 'nats', source, type: 'shop.{type}', contentType: 'text/plain; x=1' })(event)
    expect(attributesOf(made?.headers ?? {}, 'ce-')).toEqual({
      id: '7',
      source: '/shop/orders',
      specversion: '1.0',
      type: 'shop.1',
      time: '2026-11-21T10:36:25.123456Z',
      subject: 'order "1" for €5',
      datacontenttype: 'text/plain; x=1',
    })
    const { lines } = encodeMessage(made as Event, { subject: 'x', source: 's' })
    expect(lines).toContain('ce-subject: order%20%221%22%20for%20%E2%82%AC5\r\n')
    expect(lines).toContain('ce-datacontenttype: text/plain;%20x=1\r\n')
  })

  test('has the number of a type without a name, no subject without a foreignId, and no media type without a payload', () => {
    const made = cloudEvents({ binding: 'kafka', source })({ ...event, type: -3, foreignId: '', metadata: null })
    expect(Object.keys(made?.headers ?? {})).toEqual([
      'region',
      'ce_id',
      'ce_source',
      'ce_specversion',
      'ce_type',
      'ce_time',
    ])
    expect(made?.headers['ce_type']).toBe('-3')
    expect(encodeRecord(made as Event, 's').value).toBeNull()
  })

  test.each(['a\nb', 'a\u0085', '\u{ffff}', '\ud800'])(
    'refuses the subject %j, which CloudEvents forbid',
    (foreignId) => {
      const refused = { code: 'CLOUD_EVENT_INVALID', kind: 'poison', eventId: '7' }
      expect(() => named({ ...event, foreignId })).toThrow(expect.objectContaining(refused))
    },
  )

  test.each([
    [{ binding: 'amqp' }, /binding must be kafka or nats/],
    [{ source: '' }, /source must be a URI reference like \/shop\/orders/],
    [{ source: 'a b' }, /source must be a URI reference/],
    [{ contentType: 'json' }, /contentType must be the media type of the payload/],
    [{ contentType: 'application/CloudEvents+json' }, /contentType must be the media type of the payload/],
    [{ type: '{x}' }, /cloudEvents: type may hold/],
  ])('refuses the options %j', (options, message) => {
    expect(() => cloudEvents({ binding: 'kafka', source, ...(options as object) })).toThrow(message)
  })
})

describe.each(bindings)('%s: readCloudEvents', (binding) => {
  const prefix = binding === 'kafka' ? 'ce_' : 'ce-'
  const text = fc.string({ unit: fc.constantFrom('a', ' ', '"', '%', '%41', '\\', 'é', '🪵', '.') })

  test('reads what cloudEvents has written, through the wire of the bridge', () => {
    fc.assert(
      fc.property(arbitraryEvent({ foreignIds: text }), fc.boolean(), (body, isNamed) => {
        const whole: Event = { ...body, id: '7', headers: { 'reflex-source': 's', ...body.headers } }
        const names = isNamed ? { [body.type]: 'com.x' } : {}
        const made = compose(typeNames(names), cloudEvents({ binding, source }))(whole) as Event
        const blank: Event = { ...made, type: 0, timestamp: 0, foreignId: whole.foreignId === '' ? '' : 'none' }
        const read = readCloudEvents({ binding, types: { 'com.x': body.type } })(blank)
        const { headers: _, ...expected } = comparable({ ...whole, headers: {} }) as { headers: unknown }
        expect(comparable(read as Event)).toMatchObject(expected)
        expect(read?.headers).toEqual({ ...made.headers, 'type-name': isNamed ? 'com.x' : String(body.type) })
      }),
    )
  })

  const minimal = {
    [`${prefix}id`]: 'x',
    [`${prefix}source`]: '/s',
    [`${prefix}specversion`]: '1.0',
    [`${prefix}type`]: 'com.other',
  }

  test('keeps what a CloudEvent of somebody else does not tell', () => {
    const { headers, ...rest } = event
    const read = readCloudEvents({ binding })({ ...event, headers: { ...headers, ...minimal } })
    expect(read).toMatchObject(rest)
    expect(read?.headers['type-name']).toBe('com.other')
  })

  test.each(Object.keys(minimal))('refuses what has no %s', (name) => {
    const { [name]: _, ...headers } = minimal
    const refused = { code: 'CLOUD_EVENT_INVALID', message: expect.stringContaining(`found no header ${name}`) }
    expect(() => readCloudEvents({ binding })({ ...event, headers })).toThrow(expect.objectContaining(refused))
  })

  test.each([
    ['another version', { [`${prefix}specversion`]: '0.3' }, /found the version 0\.3/],
    ['a time that is none', { [`${prefix}time`]: 'yesterday' }, /expected a timestamp/],
    ['structured mode', { 'Content-Type': 'application/cloudevents+json' }, /found one in structured mode/],
  ])('refuses %s', (_, more, message) => {
    const read = readCloudEvents({ binding })
    expect(() => read({ ...event, headers: { ...minimal, ...(more as object) } })).toThrow(message)
  })
})

describe('CloudEvents that others have published to NATS', () => {
  const subject = (value: string): string | undefined =>
    readCloudEvents({ binding: 'nats' })({
      ...event,
      headers: { 'ce-id': '1', 'ce-source': '/s', 'Ce-SpecVersion': '1.0', 'ce-type': 't', 'ce-subject': value },
    })?.foreignId

  test('are percent-decoded once, and quoted strings unescaped', () => {
    expect(subject('Euro%20%E2%82%AC%20%F0%9F%98%80')).toBe('Euro € 😀')
    expect(subject('%2541')).toBe('%41')
    expect(subject('"a \\"b\\""')).toBe('a "b"')
  })

  test('are refused where what is percent-encoded is not UTF-8', () => {
    expect(() => subject('%C0%A0')).toThrow(expect.objectContaining({ code: 'CLOUD_EVENT_INVALID' }))
  })
})
