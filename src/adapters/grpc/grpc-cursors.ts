import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf'
import { type CallCredentials, Metadata } from '@grpc/grpc-js'
import { systemClock } from '../../core/clock.ts'
import type { CursorStore } from '../../core/cursor.ts'
import { OptionError } from '../../core/errors.ts'
import { CursorStoreService } from './generated/reflexbridge/v1/cursors_pb.ts'
import { beginCall, callOptions, checkGrpcClient, type GrpcClient } from './grpc-client.ts'
import { statusError } from './status-error.ts'
import { unaryMethod } from './unary-method.ts'

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

  function ask<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    init: MessageInitShape<I>,
    signal?: AbortSignal,
  ): Promise<MessageShape<O>> {
    const { path, requestSerialize, responseDeserialize } = unaryMethod(method)
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted()
      const options = callOptions(systemClock.now(), deadlineMs, credentials)
      const request = create(method.input, init)
      const onAbort = (): void => {
        reject(signal?.reason)
        call.cancel()
      }
      const call = beginCall('grpcCursors', () =>
        client.makeUnaryRequest(
          path,
          requestSerialize,
          responseDeserialize,
          request,
          new Metadata(),
          options,
          (error, response) => {
            signal?.removeEventListener('abort', onAbort)
            if (error === null && response !== undefined) resolve(response)
            else if (error !== null) reject(statusError(`grpc:${path}`, error))
          },
        ),
      )
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  return {
    get: async (consumer, { signal } = {}) => (await ask(getCursor, { consumer: checked(consumer) }, signal)).cursor,
    set: async (consumer, cursor, expected) => {
      await ask(setCursor, { consumer: checked(consumer), cursor: checked(cursor), expected: checked(expected) })
    },
    reset: async (consumer, cursor) => {
      await ask(resetCursor, { consumer: checked(consumer), cursor: checked(cursor) })
    },
    list: async () => new Map((await ask(listCursors, {})).cursors.map(({ consumer, cursor }) => [consumer, cursor])),
  }
}

/** Two names that are sent as the same text would share a cursor. */
function checked(text: string): string {
  if (text.isWellFormed()) return text
  throw new OptionError(`grpcCursors: names and cursors must be well-formed Unicode, but found ${JSON.stringify(text)}`)
}
