import { OptionError } from '../core/errors.ts'
import { bytes, codec, json, none, type Payload, text } from '../core/payload.ts'

/**
 * How data of one kind travels: the payload, and under which name whoever reads it finds the same codec. Make your own, of any `Payload`,
 * and hand it to `publish` and, in `codecs`, to `subscribe`.
 *
 * @example const order: DataCodec<Order> = { encoding: 'avro', dataType: 'shop.Order', payload: codec({ encode: avro.toBuffer, decode: avro.fromBuffer }) }
 */
export interface DataCodec<Input, Output = Input> {
  /** The name of the encoding; travels in the header `data-encoding`. */
  readonly encoding: string
  /** The type within the encoding; travels in `data-type`. A codec without one reads data of every type in its encoding. */
  readonly dataType?: string | undefined
  readonly payload: Payload<Input, Output>
}

/** Bytes as they are. */
export const bytesCodec: DataCodec<Uint8Array> = { encoding: 'bytes', payload: bytes }

/** A string, as UTF-8. */
export const stringCodec: DataCodec<string> = { encoding: 'string', payload: text }

/** A value as JSON, whose shape is not checked: for that, make a codec with `encoding: 'json'` of a `schema`. */
export function jsonCodec<T>(): DataCodec<T> {
  return { encoding: 'json', payload: json<T>() }
}

/** No data: the payload is null. */
export const nilCodec: DataCodec<undefined> = { encoding: 'nil', payload: none }

/** What is needed of a type of Protobuf messages, whichever generator made it: its name, one way to bytes and one back. */
export interface ProtobufType<T> {
  /** With its package: `shop.OrderPlaced`. */
  readonly typeName: string
  /** The bytes, or a writer that is finished with them. */
  encode?(message: T): Uint8Array | { finish(): Uint8Array }
  toBinary?(message: T): Uint8Array
  decode?(bytes: Uint8Array): T
  fromBinary?(bytes: Uint8Array): T
}

/**
 * Messages of one Protobuf type. Throws an `OptionError` on a type that lacks its name or one of the ways.
 *
 * @example
 * protobufCodec({
 *   typeName: OrderSchema.typeName,
 *   toBinary: (order: Order) => toBinary(OrderSchema, order),
 *   fromBinary: (bytes) => fromBinary(OrderSchema, bytes),
 * })
 */
export function protobufCodec<T>(type: ProtobufType<T>): DataCodec<T> {
  const there = [type.encode ?? type.toBinary, type.decode ?? type.fromBinary]
  if (typeof type.typeName !== 'string' || type.typeName === '' || there.some((each) => typeof each !== 'function'))
    throw new OptionError(
      'protobufCodec: expected a type with typeName, encode or toBinary, and decode or fromBinary, but one of them is missing',
    )
  return {
    encoding: 'protobuf',
    dataType: type.typeName,
    payload: codec({
      encode: (message: T) => {
        const encoded = type.encode === undefined ? type.toBinary?.(message) : type.encode(message)
        return encoded instanceof Uint8Array ? encoded : (encoded as { finish(): Uint8Array }).finish()
      },
      decode: (encoded) =>
        type.decode === undefined ? (type.fromBinary as (all: Uint8Array) => T)(encoded) : type.decode(encoded),
    }),
  }
}

/** What every subscription can read; `protobuf` needs the types. */
const standard: readonly DataCodec<never, unknown>[] = [bytesCodec, stringCodec, jsonCodec<unknown>(), nilCodec]

/** Finds the codec of data; undefined if there is none. */
export type FindCodec = (encoding: string, dataType: string | undefined) => DataCodec<never, unknown> | undefined

/**
 * Looks a codec up among the user's, which go before the standard ones: one of the same type first, then one of no type. Throws an
 * `OptionError` on two of the same name.
 */
export function codecFinder(own: readonly DataCodec<never, unknown>[]): { readonly names: string; find: FindCodec } {
  const known = new Map<string, DataCodec<never, unknown>>()
  for (const each of own) {
    const name = nameOf(each.encoding, each.dataType)
    if (typeof each.encoding !== 'string' || each.encoding === '')
      throw new OptionError(
        `codecs: a codec needs the name of its encoding, but one has ${JSON.stringify(each.encoding)}`,
      )
    if (known.has(name)) throw new OptionError(`codecs: there are two of ${name}: which one is meant?`)
    known.set(name, each)
  }
  for (const each of standard) if (!known.has(each.encoding)) known.set(each.encoding, each)
  return {
    names: [...known.keys()].join(', '),
    find: (encoding, dataType) => known.get(nameOf(encoding, dataType)) ?? known.get(encoding),
  }
}

/** An encoding, and a type if there is one, in words. */
export function nameOf(encoding: string, dataType: string | undefined): string {
  return dataType === undefined ? encoding : `${encoding} ${dataType}`
}
