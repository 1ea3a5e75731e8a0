import type { DescMessage } from '@bufbuild/protobuf'
import { type DescMethodUnary, fromBinary, type MessageShape, toBinary } from '@bufbuild/protobuf'
import type { MethodDefinition } from '@grpc/grpc-js'

/** A method with one request and one response, as grpc-js describes it. */
export function unaryMethod<I extends DescMessage, O extends DescMessage>({
  parent,
  name,
  input,
  output,
}: DescMethodUnary<I, O>): MethodDefinition<MessageShape<I>, MessageShape<O>> {
  return {
    path: `/${parent.typeName}/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: (message) => Buffer.from(toBinary(input, message)),
    requestDeserialize: (bytes) => fromBinary(input, bytes),
    responseSerialize: (message) => Buffer.from(toBinary(output, message)),
    responseDeserialize: (bytes) => fromBinary(output, bytes),
  }
}
