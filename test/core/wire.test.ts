import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  addHeader,
  codeOf,
  decodeFields,
  decodeHeaderText,
  type Event,
  encodeFields,
  encodeHeaderText,
  formatTimestamp,
  headerPairs,
  parseTimestamp,
  type WireField,
  wireNames,
} from '../../src/core/index.ts'
import { arbitraryEvent, comparable } from '../tools/arbitrary-event.ts'

const text = fc.string({ unit: 'binary' })

describe('fields', () => {
  test('an event comes back as it was, with its source and its id there as headers', () => {
    fc.assert(
      fc.property(arbitraryEvent(), text, text, (body, id, source) => {
        const event: Event = { ...body, id }
        const decoded = decodeFields(encodeFields(event, source))
        expect(decoded).toBeDefined()
        const { isNull, ...rest } = decoded as NonNullable<typeof decoded>
        expect(comparable({ ...rest, metadata: isNull ? null : event.metadata })).toEqual(comparable(event))
        expect(rest.headers[wireNames.source]).toBe(source)
        expect(rest.headers[wireNames.sourceId]).toBe(id)
        expect(isNull).toBe(event.metadata === null)
      }),
      { numRuns: 300 },
    )
  })

  test('what an earlier bridge wrote into the headers is replaced, not repeated', () => {
    const first = decodeFields(encodeFields(event({ id: '1' }), 'first')) as NonNullable<
      ReturnType<typeof decodeFields>
    >
    const fields = encodeFields(
      event({ id: '2', headers: { ...first.headers, [wireNames.null]: '1', own: 'kept' } }),
      'second',
    )
    expect(fields).toEqual([
      [wireNames.source, 'second'],
      [wireNames.sourceId, '2'],
      [wireNames.type, '1'],
      [wireNames.foreignId, 'x'],
      [wireNames.timestamp, '1970-01-01T00:00:00.000000Z'],
      ['own', 'kept'],
    ])
  })

  test('fields that this package did not write are no event of its own', () => {
    const fields = encodeFields(event({}), 's')
    for (const name of [wireNames.type, wireNames.foreignId, wireNames.timestamp])
      expect(decodeFields(fields.filter(([each]) => each !== name))).toBeUndefined()
    expect(decodeFields([])).toBeUndefined()
  })

  test('a wrong type or timestamp is an error', () => {
    const withField = (name: string, value: string): readonly WireField[] =>
      encodeFields(event({}), 's').map((field) => (field[0] === name ? [name, value] : field))
    for (const type of ['', ' 1', '1.0', '1e3', '2147483648', '-2147483649', 'one', '0x1'])
      expect(() => decodeFields(withField(wireNames.type, type)), type).toThrow(RangeError)
    for (const type of ['2147483647', '-2147483648', '0'])
      expect(decodeFields(withField(wireNames.type, type))?.type).toBe(Number(type))
    for (const timestamp of ['', 'now', '1700000000000', '2026-11-21', '2026-11-21T10:36:25', '2026-13-01T00:00:00Z'])
      expect(() => decodeFields(withField(wireNames.timestamp, timestamp)), timestamp).toThrow(RangeError)
  })

  test('text that is not well-formed would be changed on the way, and is refused', () => {
    const lone = 'a\ud800b'
    for (const wrong of [
      event({ foreignId: lone }),
      event({ headers: { [lone]: 'x' } }),
      event({ headers: { x: ['ok', lone] } }),
    ]) {
      let error: unknown
      try {
        encodeFields(wrong, 's')
      } catch (thrown) {
        error = thrown
      }
      expect(codeOf(error)).toBe('EVENT_UNENCODABLE')
    }
  })
})

describe('headers', () => {
  test('a name that comes again gets an array, in the order of its values', () => {
    const headers: Record<string, string | string[]> = {}
    for (const [name, value] of [
      ['a', '1'],
      ['b', '2'],
      ['a', '3'],
      ['a', '4'],
    ] as const)
      addHeader(headers, name, value)
    expect(headers).toEqual({ a: ['1', '3', '4'], b: '2' })
    expect(headerPairs(headers)).toEqual([
      ['a', '1'],
      ['a', '3'],
      ['a', '4'],
      ['b', '2'],
    ])
  })

  test('names that every object has are names like others', () => {
    const headers: Record<string, string | string[]> = {}
    for (const name of ['__proto__', 'constructor', 'toString', '__proto__']) addHeader(headers, name, 'x')
    expect(headerPairs(headers)).toEqual([
      ['__proto__', 'x'],
      ['__proto__', 'x'],
      ['constructor', 'x'],
      ['toString', 'x'],
    ])
    expect(Object.getPrototypeOf(headers)).toBe(Object.prototype)
  })

  test('any text survives in a header of visible ASCII', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          text,
          fc.string(),
          fc.constantFrom('', ' ', '  a  b ', '%', '%25', '%zz', 'a: b', '\r\n', '\u0000', '🪵'),
        ),
        fc.boolean(),
        (value, name) => {
          const encoded = encodeHeaderText(value, { name })
          expect(encoded).toMatch(name ? /^[!-9;-~]*$/ : /^(|[!-~]|[!-~][ -~]*[!-~])$/)
          expect(decodeHeaderText(encoded)).toBe(value)
        },
      ),
      { numRuns: 500 },
    )
  })

  test('plain text stays as it is', () => {
    for (const value of ['order-7', 'a b:c', 'x=1;y=2', "it's"]) expect(encodeHeaderText(value)).toBe(value)
    expect(encodeHeaderText('50 %')).toBe('50 %25')
    expect(encodeHeaderText(' é ')).toBe('%20%C3%A9%20')
    expect(encodeHeaderText('a: b', { name: true })).toBe('a%3A%20b')
  })
})

describe('timestamps', () => {
  test('µs survive, from 1900 to 2100 (a double tells them apart until 2109)', () => {
    const micros = fc.integer({ min: Date.UTC(1900) * 1000, max: Date.UTC(2100) * 1000 })
    fc.assert(
      fc.property(micros, (each) => {
        const formatted = formatTimestamp(each / 1000)
        expect(formatted).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
        expect(parseTimestamp(formatted)).toBe(each / 1000)
        expect(formatTimestamp(parseTimestamp(formatted))).toBe(formatted)
      }),
      { numRuns: 1000, examples: [[1_017_464]] },
    )
  })

  test('ms survive over all the years', () => {
    fc.assert(
      fc.property(fc.integer({ min: -62_167_219_200_000, max: 253_402_300_799_999 }), (ms) => {
        const formatted = formatTimestamp(ms)
        expect(formatted).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}000Z$/)
        expect(parseTimestamp(formatted)).toBe(ms)
      }),
      { numRuns: 1000 },
    )
  })

  test('examples', () => {
    const ms = Date.parse('2026-11-21T10:36:25.123Z')
    expect(formatTimestamp(ms + 0.456)).toBe('2026-11-21T10:36:25.123456Z')
    expect(formatTimestamp(-0.001)).toBe('1969-12-31T23:59:59.999999Z')
    expect(formatTimestamp(0.9996)).toBe('1970-01-01T00:00:00.001000Z')
    expect(parseTimestamp('2026-11-21T10:36:25.123456789Z')).toBe(ms + 0.456)
    expect(parseTimestamp('2026-11-21T12:36:25.1+02:00')).toBe(ms - 23)
    expect(parseTimestamp('2026-11-21T10:36:25Z')).toBe(ms - 123)
  })

  test('a form that is read is not the form that is written', () => {
    expect(formatTimestamp(parseTimestamp('2026-11-21T24:00:00Z'))).toBe('2026-11-22T00:00:00.000000Z')
    expect(parseTimestamp('2026-11-22T00:00:00.5Z')).toBe(Date.parse('2026-11-22T00:00:00.500Z'))
    expect(() => parseTimestamp('2026-11-22T00:00:00.1e3  Z')).toThrow(RangeError)
  })

  test('what is no time of these years is refused', () => {
    for (const wrong of [Number.NaN, Number.POSITIVE_INFINITY, -62_167_219_200_001, 253_402_300_800_000]) {
      expect(() => formatTimestamp(wrong)).toThrow('epoch milliseconds')
    }
  })
})

function event(members: Partial<Event>): Event {
  return { id: '1', type: 1, foreignId: 'x', timestamp: 0, metadata: new Uint8Array(), headers: {}, ...members }
}
