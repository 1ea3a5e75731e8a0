import { createTraceState, isSpanContextValid } from '@opentelemetry/api'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readTraceContext, traceContextHeaders } from '../../src/otel/trace-context.ts'

const hex = (length: number): fc.Arbitrary<string> =>
  fc
    .array(fc.constantFrom(...'0123456789abcdef'), { minLength: length, maxLength: length })
    .map((digits) => digits.join(''))
    .filter((text) => !/^0+$/.test(text))
const member = fc.tuple(fc.stringMatching(/^[a-z][a-z0-9]{0,9}$/), fc.stringMatching(/^[!-+.-<>-~]{1,20}$/))
const state = fc
  .uniqueArray(member, { selector: ([key]) => key, maxLength: 5 })
  .map((members) => members.map((each) => each.join('=')).join(','))

test('a context comes out of the headers as it was put in', () => {
  fc.assert(
    fc.property(hex(32), hex(16), fc.integer({ min: 0, max: 255 }), state, (traceId, spanId, traceFlags, text) => {
      const headers = traceContextHeaders({ traceId, spanId, traceFlags, traceState: createTraceState(text) })
      expect(Object.keys(headers)).toEqual(text === '' ? ['traceparent'] : ['traceparent', 'tracestate'])
      const found = readTraceContext(headers)
      expect(found).toMatchObject({ traceId, spanId, traceFlags, isRemote: true })
      expect(found?.traceState?.serialize() ?? '').toBe(text)
    }),
  )
})

test('whatever stands in the headers is a valid context or none', () => {
  const near = hex(32).map((digits) => `00-${digits}-${digits.slice(16)}-01`)
  const mangled = fc
    .tuple(near, fc.nat(60), fc.string({ maxLength: 2 }))
    .map(([text, at, by]) => text.slice(0, at) + by + text.slice(at + 1))
  const value = fc.oneof(mangled, near, fc.string(), fc.array(fc.string(), { minLength: 2 }))
  fc.assert(
    fc.property(value, fc.oneof(value, fc.constant(undefined)), (traceparent, tracestate) => {
      const found = readTraceContext({ traceparent, ...(tracestate === undefined ? {} : { tracestate }) })
      if (found !== undefined) expect(isSpanContextValid(found)).toBe(true)
      if (found !== undefined) expect(traceparent).toContain(found.traceId)
    }),
  )
})
