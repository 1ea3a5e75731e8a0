import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Batch,
  type Cursor,
  type Event,
  eventStream,
  type MemoryLog,
  memoryCursors,
  memoryLog,
  run,
  type Source,
} from '../../src/core/index.ts'
import { concurrent, merge, originOf } from '../../src/patterns/index.ts'
import { conformance, type SourceSubject } from '../../src/testing/index.ts'
import { errorOf, reader, within } from '../tools/reader.ts'
import { turns } from './turns.ts'

/** A source in which nothing ever happens, and which says so at once. */
function quiet(name: string): Source {
  return {
    name,
    stream: async (_, { signal, toHead }) => {
      const closed = Promise.withResolvers<void>()
      async function* batches(): AsyncGenerator<Batch> {
        yield { events: [], cursor: '0' }
        if (!toHead) await closed.promise
      }
      return eventStream(batches(), () => closed.resolve(), { signal })
    },
    head: async ({ signal } = {}) => {
      signal?.throwIfAborted()
      return '0'
    },
    backlog: async () => ({ count: 0n, unit: 'events' }),
    at: async () => '0',
  }
}

describe('a merged source', () => {
  // An id holds the positions of all sources, which stay the same only where one of them moves.
  const create = async (): Promise<SourceSubject> => {
    const log = memoryLog({ name: 'log', batchSize: 3 })
    const inLog = (id: string): string => originOf(id).id
    return {
      source: merge('merged', [log.source, quiet('idle'), quiet('a still one')]),
      append: async (events) => void log.append(...events),
      trim: async (id) => log.trim(inLog(id)),
      remove: async (id) => log.remove(inLog(id)),
      recreate: async () => log.recreate(),
      rewind: async (id) => log.rewind(inLog(id)),
      malformed: ['log', 'log=x', 'log=1&log=2', 'other=1', 'log=%', 'x:log=1', 'log=1=2', '&'],
    }
  }
  conformance({ test, create, runs: 20, seed: 1 })
})

/** Some logs, what stands in each, and a merge of them. */
function scene(names: readonly string[], batchSize = 2) {
  const logs = new Map(names.map((name) => [name, memoryLog({ name, batchSize })]))
  const of = (name: string): MemoryLog => logs.get(name) as MemoryLog
  return {
    of,
    append: (name: string, count = 1) => {
      for (let i = 0; i < count; i++) of(name).append({ type: 1, foreignId: name, timestamp: 0 })
    },
    source: merge(
      'all',
      names.map((name) => of(name).source),
    ),
  }
}

const told = ({ id }: Event): string => Object.values(originOf(id)).join(' ')

test('the events of each source come once, in order, however they are read in parts, and after any cursor or id that was seen', async () => {
  const schedule = fc.array(
    fc.oneof(
      fc.record({ append: fc.constantFrom('a', 'b', 'c d&='), count: fc.integer({ min: 1, max: 5 }) }),
      fc.record({ read: fc.integer({ min: 1, max: 6 }), middle: fc.boolean() }),
    ),
    { maxLength: 15 },
  )
  await fc.assert(
    fc.asyncProperty(schedule, fc.integer({ min: 1, max: 3 }), async (commands, batchSize) => {
      const names = ['c d&=', 'a', 'b']
      const { of, append, source } = scene(names, batchSize)
      const read: string[] = []
      let cursor: Cursor = ''
      const readOn = async (limit: number, middle: boolean): Promise<void> => {
        await using stream = await source.stream(cursor, { toHead: true })
        let batches = 0
        for await (const { events, cursor: after } of stream) {
          const some = middle && events.length > 1 && batches + 1 === limit ? events.slice(0, 1) : events
          read.push(...some.map(told))
          cursor = some === events ? after : (some[0]?.id ?? '') // as a run saves it that fails within a batch
          if (++batches === limit) return
        }
      }
      for (const each of commands) {
        if ('append' in each) append(each.append, each.count)
        else await readOn(each.read, each.middle)
      }
      await readOn(Number.POSITIVE_INFINITY, false)
      for (const name of names) {
        const count = Number(await of(name).source.head?.())
        expect(read.filter((each) => each.startsWith(`${name} `))).toEqual(
          Array.from({ length: count }, (_, i) => `${name} ${i + 1}`),
        )
      }
    }),
    { numRuns: 150 },
  )
})

test('a run that fails in the middle of a batch goes on at that event, and repeats none of the others', async () => {
  const { append, source } = scene(['a', 'b'], 5)
  append('a', 5)
  append('b', 5)
  const cursors = memoryCursors()
  const handled: string[] = []
  for (const failing of ['a 3', 'b 2', 'none']) {
    const handle = (event: Event): void => {
      if (told(event) === failing) throw new Error('broken')
      handled.push(told(event))
    }
    const consumer = { name: 'c', handle }
    await run({ stream: source.stream, cursors, consumer }, { toHead: true }).catch(() => {})
  }
  expect(handled.toSorted()).toEqual(['a', 'b'].flatMap((name) => [1, 2, 3, 4, 5].map((i) => `${name} ${i}`)))
  expect(await cursors.get('c')).toBe('a=5@1&b=5@1')
})

test('the cursor of events that are handled concurrently holds where each source is', async () => {
  const { append, source } = scene(['a', 'b'], 5)
  append('a', 5)
  append('b', 5)
  const cursors = memoryCursors()
  const done: string[] = []
  for (const fails of [true, false]) {
    const handle = async (event: Event): Promise<void> => {
      await turns()
      if (fails && told(event) === 'a 4') throw new Error('broken')
      done.push(told(event))
    }
    const consumer = concurrent({ name: 'c', handle }, { maxInFlight: 2 })
    await run({ stream: source.stream, cursors, consumer }, { toHead: true }).catch(() => {})
  }
  expect(new Set(done).size).toBe(10)
  expect(await cursors.get('c')).toBe('a=5@1&b=5@1')
})

test('every source has its turn, however much another one has', async () => {
  const { append, source } = scene(['busy', 'other'])
  append('busy', 100)
  append('other', 10)
  await using stream = reader(await source.stream('', {}))
  const order = (await stream.take(20)).map(({ foreignId }) => foreignId)
  expect(order.filter((each) => each === 'other').length).toBe(10)
})

test('one batch of each source is read ahead, no more', async () => {
  const reads: string[] = []
  const endless = (name: string): Source => ({
    name,
    stream: async (_, { signal }) => {
      async function* batches(): AsyncGenerator<Batch> {
        for (let i = 1; ; i++) {
          reads.push(name)
          yield { events: [], cursor: String(i) }
        }
      }
      return eventStream(batches(), () => {}, { signal })
    },
  })
  await using stream = reader(await merge('all', [endless('a'), endless('b')]).stream('', {}))
  await turns()
  expect(reads).toEqual([])
  await stream.batch()
  await turns()
  expect(reads.length).toBe(2)
  await stream.batch()
  await turns()
  expect(reads.length).toBe(3)
})

test('with toHead it ends when all are at what were their heads; with fromHead it begins with all of them pinned', async () => {
  const { append, source } = scene(['a', 'b'])
  append('a', 3)
  await using toHead = reader(await source.stream('', { toHead: true }))
  append('a')
  append('b')
  expect((await toHead.rest()).map(told)).toEqual(['a 1', 'a 2', 'a 3'])
  await using fromHead = reader(await source.stream('', { fromHead: true }))
  append('b')
  expect(await fromHead.batch()).toEqual({ events: [], cursor: 'a=4@1&b=1@1' })
  expect((await fromHead.take(1)).map(told)).toEqual(['b 2'])
})

test('head, at and backlog are those of all sources; there is none that one of them lacks', async () => {
  const { append, source } = scene(['a', 'b'])
  append('a', 3)
  append('b', 2)
  expect(await source.head?.()).toBe('a=3&b=2')
  expect(await source.at?.(1)).toBe('a=3&b=2')
  expect(await source.backlog?.('a=1&b=0')).toEqual({ count: 4n, unit: 'events' })
  const { name, stream } = memoryLog({ name: 'c' }).source
  expect(Object.keys(merge('all', [source, { name, stream }]))).toEqual(['name', 'stream'])
})

describe('a cursor', () => {
  test('of fewer sources begins with the earliest event of the one that was added', async () => {
    const { append, source } = scene(['a', 'b'])
    append('a', 2)
    append('b', 1)
    await using stream = reader(await source.stream('a=1@1', { toHead: true }))
    expect((await stream.rest()).map(told).toSorted()).toEqual(['a 2', 'b 1'])
  })

  test('of a source that is not merged any more is an error that tells the cursor without it', async () => {
    const { source } = scene(['a', 'b'])
    const error = await errorOf(source.stream('a=1@1&b=2@1&gone=7', {}))
    expect(error).toMatchObject({ code: 'CURSOR_INVALID', retriable: false })
    expect(String(error)).toContain('it holds one of gone, which is not merged')
    expect(String(error)).toContain('reset the cursor to "a=1@1&b=2@1"')
  })

  test('has one text, whatever the order in which the sources are given, and whatever their names and positions hold', async () => {
    const odd: Source = {
      name: 'x&=@/:%',
      stream: async (after, { signal }) => {
        expect(['', 'p@q&=1']).toContain(after)
        return eventStream(
          (async function* () {
            yield { events: [], cursor: 'p@q&=1' }
          })(),
          () => {},
          { signal },
        )
      },
    }
    for (const sources of [
      [odd, quiet('a')],
      [quiet('a'), odd],
    ]) {
      const source = merge('all', sources)
      for (const after of ['', 'a=&x%26%3D%40%2F%3A%25=p%40q%26%3D1']) {
        await using stream = reader(await source.stream(after, { toHead: true }))
        await stream.batch()
        expect((await stream.batch()).cursor).toBe('a=0&x%26%3D%40%2F%3A%25=p%40q%26%3D1')
      }
    }
  })
})

describe('an error', () => {
  test('names its source, keeps its code, and closes the streams of the others', async () => {
    const { of, append, source } = scene(['a', 'b'])
    append('a', 5)
    append('b', 5)
    of('b').trim('4')
    const error = await errorOf(source.stream('a=1&b=1', {}))
    expect(error).toMatchObject({ code: 'CURSOR_TRIMMED', retriable: false })
    expect(String(error)).toContain('all, source "b": b: the cursor 1 points at')
    const stream = reader(await source.stream('a=5&b=5', {}))
    const waiting = errorOf(stream.batch())
    await turns()
    of('a').recreate()
    expect(await waiting).toMatchObject({ code: 'CURSOR_AHEAD' })
    expect(String(await waiting)).toContain('all, source "a"')
  })

  test('is it when one of them ends without having been asked to', async () => {
    const ends: Source = { name: 'ends', stream: async () => eventStream((async function* () {})(), () => {}) }
    await using stream = reader(await merge('all', [quiet('a'), ends]).stream('', {}))
    const error = await errorOf(stream.take(1))
    expect(error).toMatchObject({ code: 'STREAM_ENDED' })
    expect(String(error)).toContain('source "ends"')
  })

  test('of the close of one source leaves none of the others open', async () => {
    const closed: string[] = []
    const closing = (name: string): Source => ({
      name,
      stream: async () =>
        eventStream((async function* () {})(), () => {
          closed.push(name)
          if (name === 'b') throw new Error('cannot be closed')
        }),
    })
    const stream = await merge('all', ['a', 'b', 'c'].map(closing)).stream('', {})
    expect(String(await errorOf(Promise.resolve(stream[Symbol.asyncDispose]())))).toContain('cannot be closed')
    expect(closed.toSorted()).toEqual(['a', 'b', 'c'])
  })

  test('of the open of one source leaves none of the others open', async () => {
    const closed: string[] = []
    const opens: Source = {
      name: 'a',
      stream: async () => eventStream((async function* () {})(), () => void closed.push('a')),
    }
    const refuses: Source = { name: 'b', stream: () => Promise.reject(new Error('refused')) }
    expect(String(await errorOf(merge('all', [refuses, opens]).stream('', {})))).toContain('source "b": refused')
    expect(closed).toEqual(['a'])
  })

  test('of one source is told at once, whatever the others are still waiting for, and what they open later is closed', async () => {
    const late = Promise.withResolvers<void>()
    const closed = Promise.withResolvers<string>()
    const ignoring = async (): Promise<never> => new Promise(() => {})
    const slow: Source = {
      ...{ name: 'slow', head: ignoring, at: ignoring, backlog: ignoring },
      stream: async () => {
        await late.promise
        return eventStream((async function* () {})(), () => closed.resolve('closed'))
      },
    }
    const refuse = (): Promise<never> => Promise.reject(new Error('refused'))
    const refuses: Source = { name: 'refuses', stream: refuse, head: refuse, at: refuse, backlog: refuse }
    const merged = merge('all', [slow, refuses])
    for (const asking of [merged.stream('', {}), merged.head?.(), merged.at?.(1), merged.backlog?.('')])
      expect(String(await within(errorOf(asking as Promise<unknown>), 5000, 'the error'))).toContain(
        'source "refuses": refused',
      )
    late.resolve()
    expect(await within(closed.promise, 5000, 'the end')).toBe('closed')
  })

  test('is it to merge nothing, or two sources of one name', () => {
    expect(() => merge('all', [])).toThrow('expected at least one source')
    expect(() => merge('all', [quiet('a'), quiet('b'), quiet('a')])).toThrow('found two of "a"')
  })
})

test('an abort ends an open that hangs and a read at the head, at once and with its reason', async () => {
  const hangs: Source = { name: 'hangs', stream: () => new Promise(() => {}) }
  const reason = new Error('stop')
  for (const sources of [[hangs, quiet('a')], [quiet('a')]]) {
    const controller = new AbortController()
    const reading = (async () => {
      await using stream = reader(await merge('all', sources).stream('', { signal: controller.signal }))
      await stream.take(1)
    })()
    reading.catch(() => {})
    await turns()
    controller.abort(reason)
    expect(await within(errorOf(reading), 5000, 'the end')).toBe(reason)
  }
})

test('where an event comes from is told by its id; of another id it is an error', () => {
  expect(originOf('a%3A:a%3A=1%2F2@7&b=3')).toEqual({ source: 'a:', id: '1/2' })
  for (const wrong of ['17', 'a=1', 'b:a=1'])
    expect(() => originOf(wrong)).toThrow('expected the id of an event of merge')
})
