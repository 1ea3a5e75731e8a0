import {
  create,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf'
import type { ServerUnaryCall, ServiceDefinition, sendUnaryData, UntypedServiceImplementation } from '@grpc/grpc-js'
import type { CursorStore } from '../../core/cursor.ts'
import { OptionError } from '../../core/errors.ts'
import { errorStatus } from './error-status.ts'
import { CursorStoreService } from './generated/reflexbridge/v1/cursors_pb.ts'
import { unaryMethod } from './unary-method.ts'
import { wellFormed } from './well-formed.ts'

/** What a server adds: `server.addService(served.service, served.handlers)`. */
export interface ServedCursors {
  readonly service: ServiceDefinition
  readonly handlers: UntypedServiceImplementation
}

/**
 * Serves a cursor store, as `reflexbridge.v1.CursorStoreService`, to those who have `grpcCursors`. Whoever may call it may move every
 * cursor: let the server ask who is calling.
 *
 * @example
 * const { service, handlers } = serveCursors(mysqlCursors(pool))
 * server.addService(service, handlers)
 */
export function serveCursors(cursors: CursorStore): ServedCursors {
  const { getCursor, setCursor, resetCursor, listCursors } = CursorStoreService.method
  const service: Record<string, ServiceDefinition[string]> = {}
  const handlers: UntypedServiceImplementation = {}

  function add<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    answer: (request: MessageShape<I>, signal: AbortSignal) => Promise<MessageInitShape<O>>,
  ): void {
    service[method.localName] = unaryMethod(method)
    handlers[method.localName] = (
      call: ServerUnaryCall<MessageShape<I>, MessageShape<O>>,
      reply: sendUnaryData<MessageShape<O>>,
    ): void => {
      const gone = new AbortController()
      call.on('cancelled', () => gone.abort())
      answer(call.request, gone.signal).then(
        (response) => reply(null, create(method.output, response)),
        (error: unknown) => reply(errorStatus(error)),
      )
    }
  }
  add(getCursor, async ({ consumer }, signal) => ({ cursor: wellFormed(await cursors.get(consumer, { signal })) }))
  add(setCursor, async ({ consumer, cursor, expected }) => {
    await cursors.set(consumer, cursor, expected)
    return {}
  })
  add(resetCursor, async ({ consumer, cursor }) => {
    await cursors.reset(consumer, cursor)
    return {}
  })
  add(listCursors, async () => {
    if (cursors.list === undefined)
      throw new OptionError('the cursor store that is served here cannot list its cursors')
    const all = Array.from(await cursors.list(), ([consumer, cursor]) => ({
      consumer: wellFormed(consumer),
      cursor: wellFormed(cursor),
    }))
    return { cursors: all }
  })
  return { service, handlers }
}
