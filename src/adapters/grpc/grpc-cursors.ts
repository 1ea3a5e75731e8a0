import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf'
import { type CallCredentials, Metadata, type ServiceError, status } from '@grpc/grpc-js'
import { untilAborted } from '../../core/abort.ts'
import { systemClock } from '../../core/clock.ts'
import type { CursorStore } from '../../core/cursor.ts'
import { OptionError } from '../../core/errors.ts'
import { awaitConnection } from './await-connection.ts'
import { CursorStoreService } from './generated/reflexbridge/v1/cursors_pb.ts'
import { beginCall, callOptions, cancelCall, checkGrpcClient, type GrpcClient } from './grpc-client.ts'
import { type CallStatus, statusError } from './status-error.ts'
import { unaryMethod } from './unary-method.ts'
import { wellFormed } from './well-formed.ts'

/** Options of `grpcCursors`. */
export interface GrpcCursorsOptions {
  /** Made with `grpcFailFast`; the one of `grpcSource` will do. */
  readonly client: GrpcClient
  /** What each call proves who it is with, beside what the client's channel does. */
  readonly credentials?: CallCredentials | undefined
  /** A call that has not been answered by then fails, and may have done its work all the same. In ms, default 3,000. */
  readonly deadlineMs?: number | undefined
}

/**
 * Cursors that another process keeps, with `serveCursors`. Each operation is one call; none is tried again. Throws an `OptionError` on a
 * client that would.
 *
 * @example await run({ stream, cursors: grpcCursors({ client }), consumer })
 */
export function grpcCursors({ client, credentials, deadlineMs = 3000 }: GrpcCursorsOptions): CursorStore {
  checkGrpcClient(client)
  if (!(deadlineMs > 0)) throw new OptionError(`grpcCursors: deadlineMs must be more than 0, but is ${deadlineMs}`)
  const { getCursor, setCursor, resetCursor, listCursors } = CursorStoreService.method

  async function ask<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    init: MessageInitShape<I>,
    signal?: AbortSignal,
  ): Promise<MessageShape<O>> {
    signal?.throwIfAborted()
    const { path, requestSerialize, responseDeserialize } = unaryMethod(method)
    const name = `grpc:${path}`
    const askedAt = systemClock.now()
    const options = callOptions(askedAt, deadlineMs, credentials)
    const waiting = awaitConnection(name, client, { withinMs: deadlineMs, signal })
    const { asked } = await untilAborted(waiting, signal)
    signal?.throwIfAborted()
    return await new Promise((resolve, reject) => {
      const onAbort = (): void => {
        reject(signal?.reason)
        cancelCall(call)
      }
      const onReply = (error: ServiceError | null, response?: MessageShape<O>): void => {
        signal?.removeEventListener('abort', onAbort)
        if (error === null && response !== undefined) {
          resolve(response)
        } else {
          const { code, details, metadata } = error ?? NO_RESPONSE
          const afterMs = systemClock.now() - askedAt
          reject(statusError(name, { code, details, metadata, asked: `${asked} after ${afterMs} ms` }))
        }
      }
      const request = create(method.input, init)
      const call = beginCall(name, () =>
        client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, new Metadata(), options, onReply),
      )
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  return {
    get: async (consumer, { signal } = {}) => (await ask(getCursor, { consumer: wellFormed(consumer) }, signal)).cursor,
    set: async (consumer, cursor, expected) => {
      await ask(setCursor, {
        consumer: wellFormed(consumer),
        cursor: wellFormed(cursor),
        expected: wellFormed(expected),
      })
    },
    reset: async (consumer, cursor) => {
      await ask(resetCursor, { consumer: wellFormed(consumer), cursor: wellFormed(cursor) })
    },
    list: async () => new Map((await ask(listCursors, {})).cursors.map(({ consumer, cursor }) => [consumer, cursor])),
  }
}

/** As grpc-js has it where a call without a response ends well. */
const NO_RESPONSE: CallStatus = { code: status.INTERNAL, details: 'the server sent no response' }
