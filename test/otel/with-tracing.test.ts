import { SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { AlwaysOffSampler, type ReadableSpan } from '@opentelemetry/sdk-trace'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Consumer,
  type Event,
  type Headers,
  memoryCursors,
  memoryLog,
  ReflexError,
  run,
} from '../../src/core/index.ts'
import { traceHeaders, withTracing } from '../../src/otel/index.ts'
import { registeredSdk } from './registered-sdk.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const traceparent = `00-${TRACE}-00f067aa0ba902b7-01`

/** Runs a consumer over events with these headers, and gives what it ended with. */
async function consume(
  members: Partial<Consumer>,
  headers: readonly Headers[],
  { signal, name = 'kafka:orders/3' }: { readonly signal?: AbortSignal; readonly name?: string } = {},
): Promise<unknown> {
  const log = memoryLog()
  headers.forEach(
    (each, i) => void log.append({ type: i, foreignId: `e${i}`, headers: each, metadata: Buffer.from('abc') }),
  )
  const consumer = withTracing({ name: 'mailer', handle: () => {}, ...members }, { source: { name } })
  return run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true, signal }).catch(
    (error: unknown) => error,
  )
}

const parentOf = ({ parentSpanContext }: ReadableSpan): string | undefined => parentSpanContext?.spanId

describe('a traced consumer', () => {
  test('has a span for each event that it handles, with the words of the conventions', async () => {
    const sdk = registeredSdk()
    await consume({ filter: ({ type }) => type !== 1 }, [{ traceparent }, {}, {}])
    const [first, second, ...others] = sdk.ended()
    expect(others).toEqual([]) // the skipped one has none
    expect(first).toMatchObject({
      name: 'process orders',
      kind: SpanKind.CONSUMER,
      attributes: {
        'messaging.system': 'kafka',
        'messaging.destination.name': 'orders',
        'messaging.destination.partition.id': '3',
        'messaging.operation.name': 'process',
        'messaging.operation.type': 'process',
        'messaging.consumer.group.name': 'mailer',
        'messaging.message.id': '1',
        'messaging.message.body.size': 3,
        'reflex.event.type': 0,
        'reflex.event.foreign_id': 'e0',
      },
    })
    expect(first!.spanContext().traceId).toBe(TRACE)
    expect(parentOf(first!)).toBe('00f067aa0ba902b7')
    expect(first!.links.map(({ context }) => context.spanId)).toEqual(['00f067aa0ba902b7'])
    expect([parentOf(second!), second!.links]).toEqual([undefined, []])
  })

  test('works within its span, and links only where another span is active already', async () => {
    const sdk = registeredSdk()
    const inside: Headers[] = []
    await trace.getTracer('test').startActiveSpan('ambient', async (ambient) => {
      await consume({ handle: () => void inside.push(traceHeaders()) }, [{ traceparent }])
      ambient.end()
    })
    const [span, ambient] = sdk.ended()
    expect(inside[0]!['traceparent']).toContain(span!.spanContext().spanId)
    expect(parentOf(span!)).toBe(ambient!.spanContext().spanId)
    expect(span!.links.map(({ context }) => context.traceId)).toEqual([TRACE])
  })

  test('ends every span, however its handler ends (a receive span of windshift never does)', async () => {
    const endings = fc.constantFrom('returns', 'throws', 'settles', 'rejects', 'aborts')
    await fc.assert(
      fc.asyncProperty(fc.array(endings, { minLength: 1, maxLength: 8 }), async (ways) => {
        const sdk = registeredSdk()
        const controller = new AbortController()
        let called = 0
        const handle = ({ type }: Event, { signal }: { signal: AbortSignal }): void | Promise<void> => {
          called++
          const way = ways[type]
          if (way === 'throws') throw new ReflexError('BROKEN', 'broken')
          if (way === 'rejects') return Promise.reject(new TypeError('broken'))
          if (way === 'settles') return Promise.resolve()
          if (way !== 'aborts') return
          controller.abort('enough')
          return Promise.resolve().then(() => signal.throwIfAborted())
        }
        await consume(
          { handle },
          ways.map(() => ({ traceparent })),
          { signal: controller.signal },
        )
        expect(sdk.open()).toBe(0)
        expect(sdk.ended()).toHaveLength(called)
        const last = ways[called - 1]
        const failed = sdk.ended().filter(({ status }) => status.code === SpanStatusCode.ERROR)
        expect(failed.map(({ attributes }) => attributes['error.type'])).toEqual(
          last === 'throws' ? ['BROKEN'] : last === 'rejects' ? ['TypeError'] : [],
        )
        trace.disable()
      }),
    )
  })

  test('hands on all that the consumer has, and what it returns and throws', async () => {
    registeredSdk()
    class Counting implements Consumer {
      readonly name = 'counting'
      readonly types = [1, 2]
      readonly #seen: string[] = []
      handle({ id }: Event): void {
        this.#seen.push(id)
        if (id === '2') throw new Error('broken')
      }
      filter(): boolean {
        return this.#seen.push('filter') > 0
      }
      recover(): void {
        this.#seen.push('recover')
      }
      start(): void {
        this.#seen.push('start')
      }
      stop(): void {
        this.#seen.push('stop')
      }
      settled(): undefined {
        this.#seen.push('settled')
      }
      seen(): string[] {
        return this.#seen
      }
    }
    const counting = new Counting()
    const log = memoryLog()
    for (let type = 1; type <= 3; type++) log.append({ type, foreignId: 'a' })
    const consumer = withTracing(counting, { source: log.source })
    await run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true })
    expect(counting.seen()).toEqual(['start', 'filter', '1', 'filter', '2', 'recover', 'settled', 'stop', 'settled'])
  })

  test('takes part in a trace that is not sampled, without a span', async () => {
    const sdk = registeredSdk({ sampler: new AlwaysOffSampler() })
    const inside: Headers[] = []
    await consume({ handle: () => void inside.push(traceHeaders()) }, [{ traceparent, tracestate: 'a=1' }])
    expect(sdk.ended()).toEqual([])
    expect(inside[0]).toMatchObject({ traceparent: expect.stringMatching(`^00-${TRACE}-[0-9a-f]{16}-00$`) })
  })

  test('is as it was without an SDK, and traced from the next start on after one was registered', async () => {
    const log = memoryLog()
    let active: unknown = 'none'
    const handle = (): void => {
      active = trace.getActiveSpan()
    }
    const consumer = withTracing({ name: 'c', handle }, { source: log.source })
    const once = async (): Promise<void> => {
      log.append({ type: 1, foreignId: 'a', headers: { traceparent } })
      await run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true })
    }
    await once()
    expect([active, traceHeaders()]).toEqual([undefined, {}])
    const sdk = registeredSdk()
    await once()
    expect(sdk.ended()).toHaveLength(2)
  })

  test('ignores what is no trace context', async () => {
    const sdk = registeredSdk()
    const wrong: Headers[] = [
      ...['', 'x', traceparent.slice(3), `${traceparent}-more`, traceparent.toUpperCase()],
      `ff${traceparent.slice(2)}`,
      `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
      `00-${TRACE}-${'0'.repeat(16)}-01`,
    ].map((each) => ({ traceparent: each }))
    await consume({}, [...wrong, { traceparent: [traceparent, traceparent] }])
    expect(sdk.ended().map(({ links }) => links)).toEqual([...wrong, 0].map(() => []))
    await consume({}, [{ traceparent: `cc${traceparent.slice(2)}-what-comes-later`, tracestate: ['a=1', 'b=2'] }])
    expect(sdk.ended().at(-1)!.links[0]?.context).toMatchObject({ traceId: TRACE, traceFlags: 1, isRemote: true })
    expect(sdk.ended().at(-1)!.links[0]?.context.traceState?.serialize()).toBe('a=1,b=2')
  })
})
