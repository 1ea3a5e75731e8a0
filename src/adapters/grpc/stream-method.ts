import type { MethodDefinition } from '@grpc/grpc-js'
import { OptionError } from '../../core/errors.ts'

/** The method of luno/reflex's own service. */
export const REFLEX_PATH = '/reflexpb.Reflex/Stream'

/** A client asks for batches with this key of its metadata, and a server that knows them says so with it. */
export const BATCHES_KEY = 'reflex-bridge'

const asIs = (bytes: Buffer): Buffer => bytes

/** A method that streams `reflexpb.Event`, as grpc-js describes it; messages are bytes on both sides. Throws an `OptionError` on what is no path. */
export function streamMethod(path: string): MethodDefinition<Buffer, Buffer> {
  if (!/^\/[^/]+\/[^/]+$/.test(path))
    throw new OptionError(`grpc: path must be that of a method, as ${REFLEX_PATH}, but is ${JSON.stringify(path)}`)
  const codec = { requestSerialize: asIs, requestDeserialize: asIs, responseSerialize: asIs, responseDeserialize: asIs }
  return { path, requestStream: false, responseStream: true, ...codec }
}
