import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { Event } from '../../src/core/event.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { memoryLog } from '../../src/core/memory-log.ts'
import { causedBy, jsonCodec, publicationEvent, subscribe } from '../../src/pubsub/index.ts'

const unreadable = { type: 1, foreignId: 'x', metadata: Buffer.from('{'), headers: { 'data-encoding': 'json' } }

describe('subscribe', () => {
  it('calls its source and its handler as members of what they belong to', async () => {
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a' })
    class Reader {
      readonly name = 'classes'
      readonly backfill = true
      readonly source = {
        ...log.source,
        stream(...asked: Parameters<typeof log.source.stream>) {
          return this === undefined ? Promise.reject(new Error('no this')) : log.source.stream(...asked)
        },
      }
      readonly got = Promise.withResolvers<string>()
      handle({ foreignId }: { foreignId: string }): void {
        this.got.resolve(foreignId)
      }
    }
    const reader = new Reader()
    await using _ = await subscribe(reader)
    expect(await reader.got.promise).toBe('a')
  })

  it('waits for a store that forgets its place no longer than until its signal aborts', async () => {
    const stuck = { ...memoryCursors(), reset: () => new Promise<never>(() => {}) }
    const ending = new AbortController()
    const opening = subscribe({
      ...{ source: memoryLog().source, name: 'stuck', durable: stuck, reset: true, handle: () => {} },
      signal: ending.signal,
    })
    ending.abort(new Error('over'))
    await expect(opening).rejects.toThrow('over')
  })

  it('ends when the handler takes too long and heeds its signal, even if it then returns as if it were done', async () => {
    const log = memoryLog()
    const cursors = memoryCursors()
    log.append({ type: 1, foreignId: 'a' }, { type: 2, foreignId: 'a' })
    const seen: unknown[] = []
    const { closed } = await subscribe({
      source: log.source,
      name: 'slow',
      backfill: true,
      durable: cursors,
      timeoutMs: 20,
      handle: async ({ id, type }, { signal }) => {
        seen.push(id)
        if (type === 2) await once(signal, 'abort')
      },
    })
    await expect(closed).rejects.toMatchObject({ code: 'HANDLER_TIMEOUT', eventId: '2', retriable: true })
    expect(seen).toEqual(['1', '2'])
    expect(await cursors.get('slow')).toMatch(/^1@/) // it comes again
  })

  it('ends when the handler ignores its signal, and is not started again beside it', async () => {
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a' }, { type: 1, foreignId: 'a' })
    let calls = 0
    let wasTold = false
    const released = Promise.withResolvers<void>()
    const { closed } = await subscribe({
      source: log.source,
      name: 'stuck',
      backfill: true,
      timeoutMs: 20,
      restart: { minDelayMs: 1 },
      handle: async (_, { signal }) => {
        calls++
        signal.addEventListener('abort', () => {
          wasTold = true
        })
        await released.promise
      },
    })
    await expect(closed).rejects.toMatchObject({ code: 'HANDLER_STUCK', retriable: false })
    expect([calls, wasTold]).toEqual([1, true])
    released.resolve()
  })

  it('rejects with the reason of an abort that comes before the place is kept', async () => {
    const opening = { name: 'never', stream: () => new Promise<never>(() => {}) }
    const broken = { name: 'broken', stream: () => Promise.reject(new Error('no connection')) }
    for (const [source, restart] of [
      [opening, undefined],
      [broken, {}],
    ] as const) {
      const ending = new AbortController()
      const subscribing = subscribe({ source, name: 'early', handle: () => {}, signal: ending.signal, restart })
      setTimeout(() => ending.abort(new Error('enough')), 5)
      await expect(subscribing).rejects.toThrow('enough')
    }
  })

  it('starts again after a failure if it is told to, at the message that failed', async () => {
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a' }, { type: 1, foreignId: 'a' })
    const seen: string[] = []
    const subscription = await subscribe({
      source: log.source,
      name: 'again',
      backfill: true,
      restart: { minDelayMs: 1 },
      handle: ({ id }) => {
        seen.push(id)
        if (seen.length === 2) throw new Error('once')
        if (seen.length === 3) queueMicrotask(() => void subscription.close())
      },
    })
    await subscription.closed
    expect(seen).toEqual(['1', '2', '2'])
  })

  // eda logged what it could not decode, and got it again and again; windshift dropped it.
  it('ends at what it cannot decode, each time, and neither drops it nor goes past it', async () => {
    const log = memoryLog()
    const durable = memoryCursors()
    log.append(unreadable, { type: 1, foreignId: 'y' })
    for (let i = 0; i < 2; i++) {
      const seen: string[] = []
      const { closed } = await subscribe({
        source: log.source,
        name: 'strict',
        backfill: true,
        durable,
        handle: ({ id }) => void seen.push(id),
      })
      await expect(closed).rejects.toMatchObject({ code: 'PAYLOAD_INVALID', eventId: '1', retriable: false })
      expect(seen).toEqual([])
    }
  })

  it('records what it cannot decode where it is told to, and goes on; a failing record ends it', async () => {
    const log = memoryLog()
    const durable = memoryCursors()
    log.append(unreadable, { type: 1, foreignId: 'y' })
    const letters: Event[] = []
    const seen: string[] = []
    let broken = true
    const options = {
      source: log.source,
      name: 'recording',
      backfill: true,
      durable,
      undecodable: async (event: Event) => {
        if (broken) throw new Error('no room')
        letters.push(event)
      },
      handle: ({ id }: { id: string }) => void seen.push(id),
    }
    await expect((await subscribe(options)).closed).rejects.toThrow('no room')
    expect([letters, seen]).toEqual([[], []])
    broken = false
    await using subscription = await subscribe(options)
    while (seen.length === 0) await sleep(1)
    expect(letters).toMatchObject([{ id: '1', foreignId: 'x' }])
    expect(seen).toEqual(['2'])
    await subscription.close()
  })

  it('rejects if it does not come to a subscription', async () => {
    const { source } = memoryLog()
    const broken = { ...source, stream: async () => Promise.reject(new Error('no log')) }
    await expect(subscribe({ source: broken, name: 'x', handle: () => {} })).rejects.toThrow('no log')
    await expect(subscribe({ source, name: '', handle: () => {} })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    await expect(subscribe({ source, name: 'x', inFlight: 3, handle: () => {} })).rejects.toThrow(
      /goes with serial: false/,
    )
    await expect(subscribe({ source, name: 'x', timeoutMs: 0, handle: () => {} })).rejects.toThrow(/timeoutMs/)
  })

  // A durable subscription of what is new, which ended before its first event, forgot where it began.
  it('misses nothing that comes between two subscriptions of the same name', async () => {
    const log = memoryLog()
    const options = { source: log.source, name: 'kept', durable: memoryCursors() }
    log.append({ type: 1, foreignId: 'before' })
    await (await subscribe({ ...options, handle: () => {} })).close()
    log.append({ type: 1, foreignId: 'between' })
    const seen: string[] = []
    await using _ = await subscribe({ ...options, handle: ({ foreignId }) => void seen.push(foreignId) })
    while (seen.length === 0) await sleep(1)
    expect(seen).toEqual(['between'])
  })

  it('resolves only when the place of what is new is kept', async () => {
    const cursors = memoryCursors()
    const kept = Promise.withResolvers<void>()
    let isKept = false
    const durable = {
      ...cursors,
      set: async (...args: Parameters<typeof cursors.set>) => {
        await kept.promise
        await cursors.set(...args)
        isKept = true
      },
    }
    const subscribing = subscribe({ source: memoryLog().source, name: 'x', durable, handle: () => {} })
    setImmediate(kept.resolve)
    await using _ = await subscribing
    expect(isKept).toBe(true)
  })

  // eda wrote its defaults into the caller's options.
  it('leaves its options as they are', async () => {
    const options = Object.freeze({
      source: memoryLog().source,
      name: 'frozen',
      codecs: Object.freeze([]),
      handle: () => {},
    })
    const before = { ...options }
    await (await subscribe(options)).close()
    expect(options).toEqual(before)
  })

  it('waits for the handler when it is closed, and ends when its signal aborts', async () => {
    const log = memoryLog()
    log.append({ type: 1, foreignId: 'a' })
    const ending = new AbortController()
    const begun = Promise.withResolvers<void>()
    let done = false
    const { closed } = await subscribe({
      source: log.source,
      name: 'x',
      backfill: true,
      signal: ending.signal,
      handle: async (_, { signal }) => {
        begun.resolve()
        await once(signal, 'abort')
        await sleep(5)
        done = true
      },
    })
    await begun.promise
    ending.abort()
    expect(await closed).toMatchObject({ reason: 'aborted' })
    expect(done).toBe(true)
  })

  it('fails when one of several that are handled at once fails, and keeps its place before the first that is not done', async () => {
    const log = memoryLog()
    const durable = memoryCursors()
    for (let i = 0; i < 6; i++) log.append({ type: i, foreignId: String(i) })
    const later = Promise.withResolvers<void>()
    const options = { source: log.source, name: 'many', backfill: true, durable, serial: false, inFlight: 4 }
    const { closed } = await subscribe({
      ...options,
      handle: async ({ type }) => {
        if (type === 1) {
          await later.promise
          throw new Error('the second')
        }
        if (type === 3) later.resolve()
      },
    })
    await expect(closed).rejects.toThrow('the second')
    expect(await durable.get('many')).toMatch(/^1@/)
    const seen: number[] = []
    await using _ = await subscribe({ ...options, handle: ({ type }) => void seen.push(type) })
    while (seen.length < 5) await sleep(1)
    expect(seen).toEqual([1, 2, 3, 4, 5])
  })

  it('hands the cause, the correlation and the trace of a message on to what it causes', async () => {
    const trace = { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' }
    const log = memoryLog()
    log.append(await publicationEvent({ codec: jsonCodec<number>(), data: 1, trace }, { client: 'clock' }))
    const caused: unknown[] = []
    await using _ = await subscribe({
      source: log.source,
      name: 'tock',
      backfill: true,
      handle: async (message) => {
        caused.push(causedBy(message))
        if (message.cause === undefined) log.append(await publicationEvent(causedBy(message), { client: 'tock' }))
      },
    })
    while (caused.length < 2) await sleep(1)
    expect(caused).toEqual([
      { cause: '1', correlation: '1', trace },
      { cause: '2', correlation: '1', trace },
    ])
  })
})
