import { create, toBinary } from '@bufbuild/protobuf'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeMessage } from '../../src/adapters/grpc/decode-message.ts'
import { encodeBatch, encodeEvent } from '../../src/adapters/grpc/encode-event.ts'
import { type Event as EventMessage, EventSchema, TraceSchema } from '../../src/adapters/grpc/generated/reflex_pb.ts'
import type { Event } from '../../src/core/event.ts'
import { headerPairs } from '../../src/core/wire.ts'
import { arbitraryBody, difference, eventOf } from '../../src/testing/event-body.ts'

const id = fc.oneof(
  fc.bigInt(1n, 2n ** 63n).map(String),
  fc.constantFrom('1700000000000-0', '17', 'ключ', 'x'.repeat(200)),
)
const anEvent: fc.Arbitrary<Event> = fc.tuple(id, arbitraryBody).map(([id, body]) => ({ ...eventOf(body), id }))
const trace = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7' }
const traceparent = `00-${trace.traceId}-${trace.spanId}-01`

/** As the generated code has it. */
function generated({ id, type, foreignId, timestamp, metadata, headers }: Event, isWhole: boolean): EventMessage {
  const micros = Math.round(timestamp * 1000)
  const seconds = Math.floor(micros / 1_000_000)
  return create(EventSchema, {
    id,
    type,
    foreignId,
    timestamp: { seconds: BigInt(seconds), nanos: (micros - seconds * 1_000_000) * 1000 },
    metadata: metadata ?? new Uint8Array(0),
    headers: isWhole ? headerPairs(headers).map(([name, value]) => ({ name, value })) : [],
    nullMetadata: isWhole && metadata === null,
  })
}

const bytesOf = (message: EventMessage): string => Buffer.from(toBinary(EventSchema, message)).toString('hex')

describe('the codec that is written by hand', () => {
  it('writes an event as the generated one does', () => {
    fc.assert(
      fc.property(anEvent, (event) => {
        const { traceparent: _, ...headers } = event.headers
        expect(encodeEvent({ ...event, headers }).toString('hex')).toBe(bytesOf(generated(event, false)))
      }),
      { numRuns: 300 },
    )
  })

  it('writes a batch as the generated one does, in messages that follow one another', () => {
    fc.assert(
      fc.property(fc.array(anEvent, { maxLength: 12 }), id, (events, cursor) => {
        const messages = [...encodeBatch({ events, cursor })]
        let left = events
        for (const [i, message] of messages.entries()) {
          const count = decodeMessage(message).events.length
          const rest = i === messages.length - 1 ? { position: cursor } : {}
          const wanted = create(EventSchema, {
            events: left.slice(0, count).map((event) => generated(event, true)),
            ...rest,
          })
          expect(message.toString('hex')).toBe(bytesOf(wanted))
          left = left.slice(count)
        }
        expect(left).toEqual([])
      }),
      { numRuns: 200 },
    )
  })

  it('reads a batch of the generated one as it was, whatever else is in the message', () => {
    fc.assert(
      fc.property(fc.array(anEvent, { maxLength: 5 }), (events) => {
        const message = create(EventSchema, { events: events.map((event) => generated(event, true)), position: '7' })
        const unknown = Buffer.from('ca3e03010203c03e07', 'hex') // fields 1001 as bytes, and 1000 as a number
        const read = decodeMessage(Buffer.concat([unknown, toBinary(EventSchema, message)]))
        expect(read.cursor).toBe('7')
        expect(read.events.map((event, i) => difference(events[i] as Event, event))).toEqual(
          events.map(() => undefined),
        )
        expect(read.events.map(({ id }) => id)).toEqual(events.map(({ id }) => id))
      }),
      { numRuns: 200 },
    )
  })

  it('reads bytes that are nothing of the kind as an error, and never past their end', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc.tuple(anEvent, fc.nat(), fc.integer({ min: 0, max: 255 })).map(([event, at, byte]) => {
        const [message = Buffer.alloc(1)] = encodeBatch({ events: [event], cursor: '1' })
        message[at % message.length] = byte
        return message.subarray(0, Math.max(1, message.length - (at % 3)))
      }),
    )
    fc.assert(
      fc.property(bytes, (bytes) => {
        try {
          decodeMessage(Buffer.from(bytes))
        } catch (error) {
          expect(error instanceof RangeError || error instanceof TypeError, String(error)).toBe(true)
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('an event as luno/reflex sends it', () => {
  const event: Event = { id: '7', type: 1, foreignId: 'a', timestamp: 1.001, metadata: null, headers: {} }

  it('has the trace of the header traceparent, of which Go sees no flags', () => {
    for (const flags of ['01', '00', 'ff']) {
      const headers = { traceparent: `${traceparent.slice(0, -2)}${flags}` }
      expect(decodeMessage(encodeEvent({ ...event, headers })).events[0]?.headers).toEqual(headers)
    }
    const sent = encodeEvent({ ...event, headers: { traceparent } })
    expect(sent.subarray(-52).toString('hex')).toBe(
      Buffer.from(toBinary(TraceSchema, create(TraceSchema, trace))).toString('hex'),
    )
  })

  it('loses its other headers, a trace of another version, and the difference between null and empty', () => {
    const headers = { other: 'x', traceparent: '01-0-0-0' }
    for (const metadata of [null, new Uint8Array(0)])
      expect(decodeMessage(encodeEvent({ ...event, metadata, headers })).events).toEqual([{ ...event, metadata: null }])
  })

  it.each([
    ['a text that is not well-formed', { foreignId: '\ud800' }],
    ['a time after the year 9999', { timestamp: 253_402_300_800_000 }],
    ['a time before the year 1', { timestamp: -62_135_596_800_001 }],
    ['no time', { timestamp: Number.NaN }],
  ])('cannot have %s', (_, wrong) => {
    expect(() => encodeEvent({ ...event, ...wrong })).toThrow(
      expect.objectContaining({ code: 'EVENT_UNENCODABLE', kind: 'poison', eventId: '7' }),
    )
  })
})
