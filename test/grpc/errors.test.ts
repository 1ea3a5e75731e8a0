import { Metadata, status } from '@grpc/grpc-js'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { errorStatus } from '../../src/adapters/grpc/error-status.ts'
import { grpcSource, serveStream } from '../../src/adapters/grpc/index.ts'
import { statusError } from '../../src/adapters/grpc/status-error.ts'
import { headReached, streamStopped } from '../../src/adapters/grpc/stream-error.ts'
import {
  CursorAheadError,
  CursorConflictError,
  CursorInvalidError,
  CursorTrimmedError,
  DecodeError,
  type ErrorKind,
  FencedError,
  OptionError,
  ReflexError,
} from '../../src/core/errors.ts'
import type { Batch } from '../../src/core/event.ts'
import { eventStream, type StreamFunc } from '../../src/core/stream.ts'
import { numbered } from './numbered.ts'
import { connect, serve } from './serve.ts'

const text = fc.oneof(fc.string(), fc.constantFrom('7@1', 'ключ 🪵', '"\n%', ''))
const kind = fc.constantFrom<ErrorKind>(
  'retriable',
  'fatal',
  'poison',
  'auth',
  'quota',
  'read-only',
  'oversize',
  'fenced',
)
const anError: fc.Arbitrary<ReflexError> = fc.oneof(
  fc.record({ cursor: text, earliest: text }).map((o) => new CursorTrimmedError('log', o)),
  fc.record({ cursor: text }).map((o) => new CursorTrimmedError('log', o)),
  fc
    .record({ cursor: text, reason: fc.constantFrom('beyond' as const, 'recreated' as const), found: text })
    .map((o) => new CursorAheadError('log', o)),
  fc.record({ cursor: text, expected: text }).map((o) => new CursorInvalidError('log', o)),
  fc
    .record({ consumer: text, expected: text, actual: text, reset: fc.boolean() })
    .map((o) => new CursorConflictError(o)),
  fc.record({ position: text, cause: text }).map((o) => new DecodeError('log', o)),
  text.map((message) => new FencedError(message)),
  text.map((message) => new OptionError(message)),
  fc
    .tuple(fc.constantFrom('REDIS_OOM', 'SQLITE_BUSY', 'X'), text, kind, fc.option(text, { nil: undefined }))
    .map(([code, message, kind, eventId]) => new ReflexError(code, message, { kind, eventId })),
  fc.constantFrom(headReached(), streamStopped()),
)

describe('an error over the wire', () => {
  it('is the same error, with all that it tells', () => {
    fc.assert(
      fc.property(anError, (error) => {
        const {
          cause: _,
          stack: __,
          name: ___,
          ...members
        } = Object.assign({ message: error.message }, error) as Error & object
        const came = statusError('log', errorStatus(error))
        expect(came).toMatchObject(members)
        if (!['DecodeError', 'FencedError', 'OptionError'].includes(error.name)) expect(came.name).toBe(error.name)
      }),
    )
  })

  it('is the same error by a real call, whether it comes before the stream is open or after events', async () => {
    let wanted: { readonly error: ReflexError; readonly after: number } | undefined
    const stream: StreamFunc = async () => {
      const { error, after } = wanted as NonNullable<typeof wanted>
      if (after === 0) throw error
      async function* batches(): AsyncGenerator<Batch> {
        yield { events: numbered(0, after), cursor: String(after) }
        throw error
      }
      return eventStream(batches(), () => {})
    }
    await using server = await serve([serveStream(stream)])
    using client = connect(server.port)
    const source = grpcSource({ client })
    const long = fc.integer({ min: 5000, max: 20_000 }).map((length) => '🪵ж'.repeat(length / 2))
    const longConflict = fc
      .record({ consumer: long, expected: long, actual: long, reset: fc.boolean() })
      .map((o) => new CursorConflictError(o))
    await fc.assert(
      fc.asyncProperty(
        fc.oneof({ weight: 5, arbitrary: anError }, { weight: 1, arbitrary: longConflict }),
        fc.nat({ max: 2 }),
        async (error, after) => {
          wanted = { error, after }
          const reading = (async () => {
            for await (const { events } of await source.stream('', {})) expect(events).toHaveLength(after)
          })()
          const came = await reading.then(
            () => undefined,
            (error: unknown) => error,
          )
          const { code, kind, retriable, eventId, message } = error
          expect(came).toMatchObject({ code, kind, retriable, eventId, message: message.slice(0, 1000).toWellFormed() })
        },
      ),
      { numRuns: 150, seed: 1 },
    )
  })

  it('is cut where trailers have no room for its message', () => {
    const { details, metadata } = errorStatus(new ReflexError('X', '🪵'.repeat(2000)))
    expect(details.length).toBe(1000)
    expect(statusError('log', { code: status.UNKNOWN, details, metadata }).message.isWellFormed()).toBe(true)
  })

  it('stays what it is where trailers have no room for what it tells', () => {
    const error = new CursorTrimmedError('log', { cursor: 'x'.repeat(100_000), earliest: '7' })
    const sent = errorStatus(error)
    expect((sent.metadata.get('grpc-status-details-bin')[0] as Buffer).length).toBeLessThan(40_000)
    expect(statusError('log', sent)).toMatchObject({
      code: 'CURSOR_TRIMMED',
      retriable: false,
      cursor: '',
      earliest: '7',
    })
  })

  it.each([
    [status.UNAUTHENTICATED, '', 'GRPC_UNAUTHENTICATED', 'auth'],
    [status.PERMISSION_DENIED, '', 'GRPC_PERMISSION_DENIED', 'auth'],
    [status.RESOURCE_EXHAUSTED, '', 'GRPC_RESOURCE_EXHAUSTED', 'quota'],
    [status.RESOURCE_EXHAUSTED, 'Received message larger than max (5 vs. 4)', 'GRPC_MESSAGE_TOO_LARGE', 'oversize'],
    [status.UNIMPLEMENTED, '', 'GRPC_UNIMPLEMENTED', 'fatal'],
    [status.INVALID_ARGUMENT, '', 'GRPC_INVALID_ARGUMENT', 'fatal'],
    [status.UNAVAILABLE, '', 'GRPC_UNAVAILABLE', 'retriable'],
    [status.CANCELLED, '', 'GRPC_CANCELLED', 'retriable'],
    [status.DEADLINE_EXCEEDED, '', 'GRPC_DEADLINE_EXCEEDED', 'retriable'],
    [status.UNKNOWN, 'send error: context canceled', 'GRPC_CANCELLED', 'retriable'],
    [status.UNKNOWN, 'context deadline exceeded', 'GRPC_DEADLINE_EXCEEDED', 'retriable'],
    [status.UNKNOWN, 'a: the event stream has been stopped', 'STREAM_STOPPED', 'retriable'],
    [status.UNKNOWN, 'a: the event stream has reached the current head', 'HEAD_REACHED', 'fatal'],
    [status.UNKNOWN, 'the event stream has reached the current head, it said', 'GRPC_UNKNOWN', 'retriable'],
    [status.INTERNAL, 'context canceled', 'GRPC_INTERNAL', 'retriable'],
  ])('of status %i and the words "%s", without details, is %s', (code, details, wanted, kind) => {
    expect(statusError('log', { code, details })).toMatchObject({ code: wanted, kind })
  })

  it('whose details are broken is told by its status', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const metadata = new Metadata()
        metadata.set('grpc-status-details-bin', Buffer.from(bytes))
        expect(statusError('log', { code: status.UNAVAILABLE, details: 'gone', metadata }).code).toBe(
          'GRPC_UNAVAILABLE',
        )
      }),
    )
  })
})
