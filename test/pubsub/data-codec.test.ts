import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { StringValueSchema, type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { memoryLog } from '../../src/core/memory-log.ts'
import { codec } from '../../src/core/payload.ts'
import { codecFinder } from '../../src/pubsub/data-codec.ts'
import {
  bytesCodec,
  type DataCodec,
  jsonCodec,
  nilCodec,
  protobufCodec,
  publicationEvent,
  stringCodec,
} from '../../src/pubsub/index.ts'
import { toMessage } from '../../src/pubsub/message.ts'
import { anyCharacter } from './any-text.ts'

const timestamps = protobufCodec<Timestamp>({
  typeName: TimestampSchema.typeName,
  toBinary: (message) => toBinary(TimestampSchema, message),
  fromBinary: (encoded) => fromBinary(TimestampSchema, encoded),
})
/** As protobufjs and ts-proto have them. */
const strings = protobufCodec<{ value: string }>({
  typeName: StringValueSchema.typeName,
  encode: ({ value }) => ({ finish: () => toBinary(StringValueSchema, create(StringValueSchema, { value })) }),
  decode: (encoded) => ({ value: fromBinary(StringValueSchema, encoded).value }),
})
const csv: DataCodec<string[]> = {
  encoding: 'csv',
  payload: codec({
    encode: (row: string[]) => Buffer.from(row.map(encodeURIComponent).join(',')),
    decode: (encoded) => Buffer.from(encoded).toString().split(',').map(decodeURIComponent),
  }),
}
const own = codecFinder([timestamps, strings, csv])

async function roundTrip<T>(data: T, dataCodec: DataCodec<T, unknown>): Promise<unknown> {
  const [event] = memoryLog().append(await publicationEvent({ data, codec: dataCodec }, { client: 'test' }))
  return (await toMessage(event as NonNullable<typeof event>, own)).data
}

describe('data', () => {
  it('of every encoding comes back as it was published', async () => {
    const json = fc.jsonValue({ maxDepth: 3 }).map((value) => JSON.parse(JSON.stringify(value)) as unknown)
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.uint8Array().map((data) => [data, bytesCodec] as const),
          fc.string({ unit: anyCharacter }).map((data) => [data, stringCodec] as const),
          json.map((data) => [data, jsonCodec()] as const),
          fc.constant([undefined, nilCodec] as const),
          fc.array(fc.string({ unit: anyCharacter }), { minLength: 1 }).map((data) => [data, csv] as const),
          fc.string({ unit: anyCharacter }).map((value) => [{ value }, strings] as const),
        ),
        async ([data, dataCodec]) => {
          expect(await roundTrip(data as never, dataCodec)).toEqual(data)
        },
      ),
    )
    const time = create(TimestampSchema, { seconds: 1_700_000_000n, nanos: 5 })
    expect(await roundTrip(time, timestamps)).toEqual(time)
  })

  it('keeps the name of its Protobuf type, by which its codec is found', async () => {
    const { headers = {} } = await publicationEvent({ data: { value: 'x' }, codec: strings }, { client: 'test' })
    expect(headers).toMatchObject({ 'data-encoding': 'protobuf', 'data-type': 'google.protobuf.StringValue' })
  })

  it('is refused when its codec cannot carry it', async () => {
    const cases = [
      publicationEvent({ data: '\ud800', codec: stringCodec }, { client: 'test' }),
      publicationEvent({ data: 1n as unknown, codec: jsonCodec() }, { client: 'test' }),
    ]
    for (const each of cases) await expect(each).rejects.toMatchObject({ code: 'PAYLOAD_INVALID', retriable: false })
  })

  it('of an encoding or type without a codec is an error that names those there are', async () => {
    const [event] = memoryLog().append({
      type: 1,
      foreignId: '',
      metadata: Buffer.from('x'),
      headers: { 'data-encoding': 'protobuf', 'data-type': 'shop.Unknown' },
    })
    await expect(toMessage(event as NonNullable<typeof event>, own)).rejects.toMatchObject({
      code: 'PAYLOAD_INVALID',
      message: expect.stringMatching(/expected one of .*csv.* found protobuf shop.Unknown: give its codec/),
    })
  })

  it('of an event that says nothing of it is bytes, or none', async () => {
    const [some, none] = memoryLog().append(
      { type: 1, foreignId: '', metadata: Buffer.from('x') },
      { type: 1, foreignId: '' },
    )
    expect((await toMessage(some as NonNullable<typeof some>, own)).data).toEqual(Buffer.from('x'))
    expect((await toMessage(none as NonNullable<typeof none>, own)).data).toBeUndefined()
  })

  it('has no two codecs of one name, and no Protobuf type without a way back', () => {
    expect(() => codecFinder([csv, csv])).toThrow(/two of csv/)
    expect(() => protobufCodec({ typeName: 'x', encode: () => new Uint8Array() })).toThrow(/decode or fromBinary/)
  })
})
