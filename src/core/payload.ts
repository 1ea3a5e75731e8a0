import { messageOf, ReflexError } from './errors.ts'

/** How a payload of one kind becomes bytes and a value again. `label` names the event in errors. */
export interface Payload<Input, Output> {
  encode(value: Input, label: string): Uint8Array | null | Promise<Uint8Array | null>
  decode(metadata: Uint8Array | null, label: string): Output | Promise<Output>
}

/** A payload is not what its event was defined to carry. */
export class PayloadError extends ReflexError {
  override readonly name = 'PayloadError'
  constructor(label: string, expected: string, found: string, cause?: unknown) {
    super('PAYLOAD_INVALID', `${label}: expected ${expected} as its payload, but ${found}`, { cause, retriable: false })
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

function read<T>(metadata: Uint8Array | null, label: string, expected: string, parse: (bytes: Uint8Array) => T): T {
  if (metadata === null) throw new PayloadError(label, expected, 'found null')
  try {
    return parse(metadata)
  } catch (error) {
    throw new PayloadError(label, expected, messageOf(error), error)
  }
}

/** No payload: the metadata is null. */
export const none: Payload<undefined, undefined> = {
  encode: () => null,
  decode: (metadata, label) => {
    if (metadata !== null) throw new PayloadError(label, 'none', `found ${metadata.length} bytes`)
    return undefined
  },
}

/** Bytes as they are. */
export const bytes: Payload<Uint8Array, Uint8Array> = {
  encode: (value) => value,
  decode: (metadata, label) => read(metadata, label, 'bytes', (value) => value),
}

/** A string as UTF-8. */
export const text: Payload<string, string> = {
  encode: (value, label) => {
    if (!value.isWellFormed()) throw new PayloadError(label, 'well-formed Unicode', 'found a lone surrogate')
    return Buffer.from(value, 'utf8')
  },
  decode: (metadata, label) => read(metadata, label, 'UTF-8 text', (value) => utf8.decode(value)),
}

/** A value as JSON, whose shape is not checked: use `schema` where it comes from somebody else. */
export function json<T>(): Payload<T, T> {
  return {
    encode: (value, label) => {
      let encoded: string | undefined
      let cause: unknown
      try {
        encoded = JSON.stringify(value)
      } catch (error) {
        cause = error
      }
      if (encoded !== undefined) return Buffer.from(encoded, 'utf8')
      const found = cause === undefined ? `found ${typeof value}` : messageOf(cause)
      throw new PayloadError(label, 'a value that JSON can carry', found, cause)
    },
    decode: (metadata, label) => read(metadata, label, 'JSON', (value) => JSON.parse(utf8.decode(value)) as T),
  }
}

/**
 * A value in a binary form, such as the messages that Protobuf's generators make.
 *
 * @example codec({ encode: (order) => toBinary(OrderSchema, order), decode: (bytes) => fromBinary(OrderSchema, bytes) })
 */
export function codec<Input, Output>({
  encode,
  decode,
}: {
  readonly encode: (value: Input) => Uint8Array
  readonly decode: (bytes: Uint8Array) => Output
}): Payload<Input, Output> {
  return {
    encode: (value, label) => {
      try {
        return encode(value)
      } catch (cause) {
        throw new PayloadError(label, 'a value that its codec can carry', messageOf(cause), cause)
      }
    },
    decode: (metadata, label) => read(metadata, label, 'what its codec makes', decode),
  }
}

/** A value as JSON that a validator checks, when it is made and when it is handled: any Standard Schema (zod, valibot, arktype, …). */
export function schema<Input, Output>(validator: StandardSchema<Input, Output>): Payload<Input, Output> {
  const plain = json<unknown>()
  const { validate, vendor } = validator['~standard']
  const checked = (value: unknown, label: string): Output | Promise<Output> => {
    const result = validate(value)
    return result instanceof Promise ? result.then((late) => valid(late, label)) : valid(result, label)
  }
  const valid = (result: StandardResult<Output>, label: string): Output => {
    if (result.issues === undefined) return result.value
    const issues = result.issues.map(({ message, path }) => {
      const at = path?.map((part) => String(typeof part === 'object' ? part.key : part)).join('.')
      return at ? `${at}: ${message}` : message
    })
    throw new PayloadError(label, `what its ${vendor} schema accepts`, `found: ${issues.join('; ')}`)
  }
  return {
    // What travels is the input: the output may not be what the schema accepts again.
    encode: async (value, label) => {
      await checked(value, label)
      return plain.encode(value, label)
    },
    decode: (metadata, label) => checked(plain.decode(metadata, label), label),
  }
}

/** https://standardschema.dev, version 1: the part that is needed here. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | {
      readonly issues: readonly {
        readonly message: string
        readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
      }[]
    }
