/** A request and its reply, as `Connection.send` of kafkajs takes them. */
export interface KafkaRequest<T> {
  readonly request: {
    readonly apiKey: number
    readonly apiVersion: number
    readonly apiName: string
    encode(): Promise<Encoded>
  }
  readonly response: {
    decode(payload: Buffer): Promise<T>
    parse(data: T): Promise<T>
  }
}

/** kafkajs's `Encoder`, as far as its request takes it for one. */
interface Encoded {
  readonly buf: Buffer
  readonly buffer: Buffer
}

/**
 * Makes a request. Of a *flexible* version (KIP-482), which kafkajs does not know, the body and the reply that `decode` gets
 * begin with the tagged fields of the header.
 */
export function kafkaRequest<T>(
  apiName: string,
  { apiKey, apiVersion }: { readonly apiKey: number; readonly apiVersion: number },
  body: Buffer,
  decode: (reply: Buffer) => T | Promise<T>,
): KafkaRequest<T> {
  return {
    request: { apiKey, apiVersion, apiName, encode: async () => ({ buf: body, buffer: body }) },
    response: { decode: async (payload) => decode(payload), parse: async (data) => data },
  }
}
