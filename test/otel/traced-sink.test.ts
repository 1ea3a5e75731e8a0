import { SpanKind, SpanStatusCode } from '@opentelemetry/api'
import { describe, expect, test } from 'vitest'
import { differences } from '../../src/bridge/audit/differences.ts'
import { type Event, type Headers, ReflexError, type Sink, type SinkWriter } from '../../src/core/index.ts'
import { tracedSink } from '../../src/otel/index.ts'
import { registeredSdk } from './registered-sdk.ts'

const TRACES = ['4bf92f3577b34da6a3ce929d0e0e4736', '0af7651916cd43dd8448eb211c80319c']
const SPANS = ['00f067aa0ba902b7', 'b7ad6b7169203331']
const parents = TRACES.map((each, i) => `00-${each}-${SPANS[i]}-01`)

function events(...headers: readonly Headers[]): Event[] {
  return headers.map((each, i) => ({
    ...{ id: String(i + 1), type: 1, foreignId: 'a', timestamp: 0, metadata: null },
    headers: each,
  }))
}

/** A destination that remembers what it was given. */
function remembering(failure?: Error): {
  readonly sink: Sink
  readonly appended: (readonly Event[])[]
  closed: number
} {
  const given = {
    appended: [] as (readonly Event[])[],
    closed: 0,
    sink: {
      name: 'redis:orders',
      open: async () => ({
        resumeFrom: '7',
        repair: 'mended',
        append: async (part: readonly Event[]) => {
          given.appended.push(part)
          if (failure !== undefined) throw failure
          return 'mark'
        },
        [Symbol.asyncDispose]: async () => void given.closed++,
      }),
      audit: async () => ['risky'],
    } satisfies Sink,
  }
  return given
}

async function append(sink: Sink, part: readonly Event[], { repair = 'mended' } = {}): Promise<unknown> {
  await using writer = await tracedSink(sink).open({ route: 'r', source: 's' })
  expect(writer).toMatchObject({ resumeFrom: '7', repair })
  return writer.append(part, '9').catch((error: unknown) => error)
}

describe('a traced sink', () => {
  test('sends one event within its trace, from the span of the send on', async () => {
    const sdk = registeredSdk()
    const given = remembering()
    const part = events({ other: 'x', traceparent: parents[0]! })
    expect(await append(given.sink, part)).toBe('mark')
    const [span, ...others] = sdk.ended()
    expect([others, sdk.open(), given.closed]).toEqual([[], 0, 1])
    expect(span).toMatchObject({
      name: 'send orders',
      kind: SpanKind.PRODUCER,
      attributes: { 'messaging.system': 'redis', 'messaging.operation.type': 'send', 'messaging.message.id': '1' },
      parentSpanContext: { traceId: TRACES[0], spanId: SPANS[0] },
    })
    expect(given.appended[0]).toEqual(
      events({ other: 'x', traceparent: `00-${TRACES[0]}-${span!.spanContext().spanId}-01` }),
    )
    expect(part[0]!.headers['traceparent']).toBe(parents[0]) // what others hold is not changed
  })

  test('sends several each within its trace, and links the send to them', async () => {
    const sdk = registeredSdk()
    const given = remembering()
    const unsampled = parents[0]!.replace(/01$/, '00')
    const part = events(
      { traceparent: parents[0]! },
      {},
      { traceparent: parents[1]!, tracestate: 'a=1' },
      { traceparent: unsampled },
    )
    await append(given.sink, part)
    const [first, second, send, ...others] = sdk.ended()
    expect([others, sdk.open()]).toEqual([[], 0])
    expect([first!.name, second!.name, send!.name]).toEqual(['create orders', 'create orders', 'send orders'])
    expect([first!.kind, second!.kind, send!.kind]).toEqual([SpanKind.PRODUCER, SpanKind.PRODUCER, SpanKind.CLIENT])
    expect([first, second].map((each) => each!.parentSpanContext?.spanId)).toEqual(SPANS)
    expect(send!.links.map(({ context }) => context.spanId)).toEqual(
      [first, second].map((each) => each!.spanContext().spanId),
    )
    expect(send!.attributes['messaging.batch.message_count']).toBe(4)
    const [a, b, c, d] = given.appended[0]!
    expect(a!.headers['traceparent']).toBe(`00-${TRACES[0]}-${first!.spanContext().spanId}-01`)
    expect(c!.headers).toEqual({ traceparent: `00-${TRACES[1]}-${second!.spanContext().spanId}-01`, tracestate: 'a=1' })
    expect([b, d]).toEqual([part[1], part[3]])
    // Who compares the destination with the source does not take this for damage, but another trace.
    expect(part.map((each, i) => differences(each, given.appended[0]![i]!))).toEqual([[], [], [], []])
    expect(differences(part[0]!, { ...part[0]!, headers: { traceparent: parents[1]! } })).toEqual([
      'header traceparent',
    ])
    expect(differences(part[1]!, part[0]!)).toEqual(['header traceparent'])
  })

  test('ends its span with the error of the destination, which is thrown as it was', async () => {
    const sdk = registeredSdk()
    const failure = new ReflexError('REDIS_OOM', 'full')
    expect(await append(remembering(failure).sink, events({ traceparent: parents[0]! }))).toBe(failure)
    expect(sdk.ended()[0]).toMatchObject({
      status: { code: SpanStatusCode.ERROR, message: 'full' },
      attributes: { 'error.type': 'REDIS_OOM' },
    })
    expect(sdk.open()).toBe(0)
  })

  test('hands on what nobody traces, and everything without an SDK, untouched', async () => {
    const traced = events({ traceparent: parents[0]! })
    const without = remembering()
    await append(without.sink, traced)
    expect(without.appended[0]).toBe(traced)
    expect(await tracedSink(without.sink).audit?.()).toEqual(['risky'])
    const sdk = registeredSdk()
    for (const part of [[], events({}, { x: 'y' })]) {
      const given = remembering()
      await append(given.sink, part)
      expect(given.appended[0]).toBe(part)
    }
    expect([sdk.ended(), sdk.open()]).toEqual([[], 0])
  })

  test('hands on every member of a destination and its writer that are classes, each with its own this', async () => {
    class Writer implements SinkWriter {
      readonly #calls: string[]
      constructor(calls: string[]) {
        this.#calls = calls
      }
      get resumeFrom(): string {
        return '7'
      }
      get repair(): string {
        return `mended after ${this.#calls.length}`
      }
      async append(part: readonly Event[], cursor: string): Promise<string> {
        this.#calls.push(`append ${part.length} ${cursor}`)
        return 'mark'
      }
      async [Symbol.asyncDispose](): Promise<void> {
        this.#calls.push('dispose')
      }
    }
    class Destination implements Sink {
      readonly #calls: string[] = []
      get name(): string {
        return 'redis:orders'
      }
      async open({ route }: Parameters<Sink['open']>[0]): Promise<SinkWriter> {
        this.#calls.push(`open ${route}`)
        return new Writer(this.#calls)
      }
      async audit(): Promise<readonly string[]> {
        return this.#calls
      }
    }
    for (const register of [() => undefined, registeredSdk]) {
      const sdk = register()
      const destination = new Destination()
      const sink = tracedSink(destination)
      expect(sink.name).toBe('redis:orders')
      const part = events({ traceparent: parents[0]! })
      await append(destination, part, { repair: 'mended after 1' })
      expect(await sink.audit?.()).toEqual(['open r', 'append 1 9', 'dispose'])
      expect(sdk?.ended()).toEqual(sdk && [expect.objectContaining({ name: 'send orders' })])
    }
    expect(tracedSink({ name: 'x', open: new Destination().open })).not.toHaveProperty('audit')
  })
})
