import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  bytes,
  codeOf,
  defineEvents,
  type Event,
  json,
  memoryCursors,
  memoryLog,
  none,
  type Payload,
  run,
  type StandardSchema,
  schema,
  text,
} from '../../src/core/index.ts'
import { errorOf } from '../tools/reader.ts'

const signal = new AbortController().signal

async function roundTrip<I, O>(payload: Payload<I, O>, value: I): Promise<O> {
  return payload.decode(await payload.encode(value, 'event x'), 'event x')
}

/** A schema of numbers in strings, of which it makes numbers. */
function numeric(asynchronous: boolean): StandardSchema<{ total: string }, { total: number }> {
  const validate = (
    value: unknown,
  ): ReturnType<StandardSchema<unknown, { total: number }>['~standard']['validate']> => {
    const { total } = value as { total?: unknown }
    return typeof total === 'string' && /^\d+$/.test(total)
      ? { value: { total: Number(total) } }
      : { issues: [{ message: 'not digits', path: ['total'] }] }
  }
  return {
    '~standard': { version: 1, vendor: 'test', validate: asynchronous ? async (value) => validate(value) : validate },
  }
}

describe('payloads', () => {
  test('every value comes back as it was', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.jsonValue(),
        fc.string({ unit: 'binary' }),
        fc.uint8Array(),
        async (value, string, binary) => {
          expect(await roundTrip(json<unknown>(), value)).toEqual(JSON.parse(JSON.stringify(value)))
          expect(await roundTrip(text, string)).toBe(string)
          expect(await roundTrip(bytes, binary)).toEqual(binary)
        },
      ),
      { numRuns: 200 },
    )
    expect(await roundTrip(none, undefined)).toBeUndefined()
    expect(await roundTrip(text, '\ufeffwith a mark')).toBe('\ufeffwith a mark')
  })

  test('what is not that payload is an error that names the event, and is not retriable', async () => {
    const decode = async (payload: Payload<never, unknown>, metadata: Uint8Array | null): Promise<unknown> =>
      payload.decode(metadata, 'event 7 (placed)')
    const cases: [Payload<never, unknown>, Uint8Array | null][] = [
      [json(), null],
      [json(), Buffer.from('{')],
      [json(), Uint8Array.of(0xff)],
      [json(), new Uint8Array()],
      [text, null],
      [text, Uint8Array.of(0xc3)],
      [bytes, null],
      [none, Uint8Array.of(1)],
      [schema(numeric(false)), Buffer.from('{"total":"x"}')],
      [schema(numeric(true)), Buffer.from('{"total":"x"}')],
    ]
    for (const [payload, metadata] of cases) {
      const error = await errorOf(decode(payload, metadata))
      expect(error).toMatchObject({ code: 'PAYLOAD_INVALID', retriable: false })
      expect((error as Error).message).toMatch(/^event 7 \(placed\): expected /)
    }
  })

  test('what cannot be encoded is an error too', async () => {
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    const encode = async <I>(payload: Payload<I, unknown>, value: I): Promise<unknown> =>
      payload.encode(value, 'event placed')
    for (const [payload, value] of [
      [json(), undefined],
      [json(), () => {}],
      [json(), { n: 1n }],
      [json(), cycle],
      [text, 'a\ud800'],
      [schema(numeric(false)), { total: 'x' }],
      [schema(numeric(true)), { total: 'x' }],
    ] as [Payload<unknown, unknown>, unknown][]) {
      const error = await errorOf(encode(payload, value))
      expect(codeOf(error)).toBe('PAYLOAD_INVALID')
      expect((error as Error).message).toMatch(/^event placed: expected /)
    }
  })

  test('a schema checks at both ends; what travels is its input', async () => {
    for (const asynchronous of [false, true]) {
      const payload = schema(numeric(asynchronous))
      expect(Buffer.from((await payload.encode({ total: '12' }, 'x')) ?? []).toString()).toBe('{"total":"12"}')
      expect(await roundTrip(payload, { total: '12' })).toEqual({ total: 12 })
    }
  })
})

describe('defineEvents', () => {
  const orders = defineEvents({
    placed: { type: 1, payload: json<{ total: number }>() },
    cancelled: { type: 2, payload: none },
    noted: { type: -3, payload: text },
    priced: { type: 4, payload: schema(numeric(true)) },
  })

  test('creates events, and handles them as they were created', async () => {
    const log = memoryLog()
    log.append(
      await orders.create('placed', { foreignId: '7', data: { total: 12 }, timestamp: 5.25, headers: { trace: 'a' } }),
      await orders.create('cancelled', { foreignId: '7', data: undefined }),
      await orders.create('noted', { foreignId: '8', data: 'late' }),
      await orders.create('priced', { foreignId: '9', data: { total: '3' } }),
      { type: 99, foreignId: 'unknown' },
    )
    const seen: unknown[] = []
    const consumer = {
      name: 'c',
      ...orders.handlers({
        placed: ({ total }, { foreignId, timestamp, headers }, context) => {
          seen.push(['placed', total, foreignId, timestamp, headers, context.signal.aborted])
        },
        cancelled: (data) => void seen.push(['cancelled', data]),
        priced: async ({ total }) => void seen.push(['priced', total]),
      }),
    }
    expect(consumer.types).toEqual([1, 2, 4])
    await run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true })
    expect(seen).toEqual([
      ['placed', 12, '7', 5.25, { trace: 'a' }, false],
      ['cancelled', undefined],
      ['priced', 3],
    ])
  })

  test('a payload that is not what was defined fails its event; a type without a handler is passed over', async () => {
    const { handle } = orders.handlers({ placed: () => {} })
    expect(() => handle(event(1, null), { signal })).toThrow(
      'event 5 (placed): expected JSON as its payload, but found null',
    )
    expect(handle(event(2, Uint8Array.of(1)), { signal })).toBeUndefined()
  })

  test('a synchronous handler stays synchronous, and what an asynchronous one throws is passed on', async () => {
    const broken = new Error('broken')
    const { handle } = orders.handlers({
      placed: () => {},
      noted: async () => {
        throw broken
      },
    })
    expect(handle(event(1, Buffer.from('{}')), { signal })).toBeUndefined()
    expect(await errorOf(Promise.resolve(handle(event(-3, Buffer.from('x')), { signal })))).toBe(broken)
  })

  test('wrong definitions and unknown names are refused', async () => {
    for (const type of [1.5, 2 ** 31, -(2 ** 31) - 1, Number.NaN]) {
      expect(() => defineEvents({ a: { type, payload: none } })).toThrow('32-bit')
    }
    expect(() => defineEvents({ a: { type: 1, payload: none }, b: { type: 1, payload: none } })).toThrow('same type 1')
    expect(() => orders.handlers({ toString: () => {} } as never)).toThrow('there is no event toString')
    expect(codeOf(await errorOf(orders.create('gone' as never, { foreignId: '', data: undefined as never })))).toBe(
      'OPTION_INVALID',
    )
  })
})

function event(type: number, metadata: Uint8Array | null): Event {
  return { id: '5', type, foreignId: 'x', timestamp: 0, metadata, headers: {} }
}
