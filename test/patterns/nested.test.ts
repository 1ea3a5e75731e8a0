import { describe, expect, test } from 'vitest'
import {
  type Batch,
  type Clock,
  type Event,
  eventStream,
  type MemoryLog,
  memoryCursors,
  memoryLog,
  run,
  type Source,
  systemClock,
} from '../../src/core/index.ts'
import {
  ack,
  bestEffort,
  concurrent,
  constant,
  deadLetter,
  memoryLetters,
  merge,
  originOf,
  parallel,
  stopAfterAttempts,
  withTimeout,
} from '../../src/patterns/index.ts'
import { errorOf } from '../tools/reader.ts'
import { turns } from './turns.ts'

function logOf(...keys: readonly string[]): MemoryLog {
  const log = memoryLog({ batchSize: 3 })
  for (const foreignId of keys) log.append({ type: 1, foreignId })
  return log
}

describe.each(['deadLetter', 'bestEffort'] as const)('%s inside concurrent, whose filter fails once', (kind) => {
  test.each([
    ['events of one key are handled one after the other, in order', ['a', 'a'], 4],
    ['no more are handled at once than may be', ['a', 'b'], 1],
  ] as const)('%s', async (_what, keys, maxInFlight) => {
    const did: string[] = []
    let failed = false
    const first = Promise.withResolvers<void>()
    const inner = {
      name: 'c',
      filter: ({ id }: Event): boolean => {
        if (id !== '2' || failed) return true
        failed = true
        throw new Error('a busy cache')
      },
      handle: async ({ id }: Event): Promise<void> => {
        did.push(`begin ${id}`)
        if (id === '1') await first.promise
        did.push(`end ${id}`)
      },
    }
    const policy = stopAfterAttempts(constant(1), 3)
    const decorated =
      kind === 'deadLetter' ? deadLetter(inner, { letters: memoryLetters(), policy }) : bestEffort(inner, { policy })
    const consumer = concurrent(decorated, { maxInFlight })
    const running = run({ stream: logOf(...keys).source.stream, cursors: memoryCursors(), consumer }, { toHead: true })
    await systemClock.sleep(30) // the second may be tried again after 1 ms
    expect(did).toEqual(['begin 1'])
    first.resolve()
    await running
    expect(did).toEqual(['begin 1', 'end 1', 'begin 2', 'end 2'])
  })
})

test('an error of the key of concurrent fails the run, whatever recover says, and what is at work is told', async () => {
  const told = Promise.withResolvers<void>()
  const recovered: string[] = []
  const consumer = concurrent(
    {
      name: 'c',
      handle: (_event, { signal }) => {
        signal.addEventListener('abort', () => told.resolve())
        return told.promise
      },
      recover: (_error, { id }) => void recovered.push(id),
    },
    {
      maxInFlight: 2,
      key: ({ foreignId }) => {
        if (foreignId === 'b') throw new TypeError('no tenant')
        return foreignId
      },
    },
  )
  const cursors = memoryCursors()
  const error = await errorOf(run({ stream: logOf('a', 'b').source.stream, cursors, consumer }, { toHead: true }))
  expect(error).toMatchObject({ stage: 'handle', eventId: '2' })
  expect(String(error)).toContain('no tenant')
  expect([recovered, await cursors.get('c')]).toEqual([[], '1@1'])
})

test('withTimeout inside ack tells of the end of the run what its handler has taken on', async () => {
  const stop = new AbortController()
  const begun = Promise.withResolvers<void>()
  const consumer = ack(
    withTimeout(
      {
        name: 'c',
        handle: async (_event: Event, context: { readonly signal: AbortSignal; fail(error: unknown): void }) => {
          context.signal.addEventListener('abort', () => context.fail(context.signal.reason))
          begun.resolve()
        },
      },
      { timeoutMs: 5000 },
    ) as Parameters<typeof ack>[0],
  )
  const clock: Clock = { ...systemClock, sleep: (ms, signal) => systemClock.sleep(ms >= 10_000 ? 200 : ms, signal) } // for `stop`
  const running = run(
    { stream: logOf('a').source.stream, cursors: memoryCursors(), consumer },
    { signal: stop.signal, clock },
  )
  await begun.promise
  await turns()
  stop.abort(new Error('the end'))
  expect(await running).toEqual({ reason: 'aborted', cursor: '' })
})

test('parallel by id over a merge of merges handles every event once, however their events interleave', async () => {
  const logs = ['a', 'b', 'c'].map((name) => {
    const log = memoryLog({ name, batchSize: 3 })
    for (let i = 0; i < 40; i++) log.append({ type: 1, foreignId: 'x' })
    return log.source
  }) as [Source, Source, Source]
  const inTurns = (source: Source, count: number): Source => ({
    ...source,
    stream: async (...about) => {
      const stream = await source.stream(...about)
      async function* batches(): AsyncGenerator<Batch> {
        for await (const batch of stream) {
          for (let i = 0; i < count; i++) await Promise.resolve()
          yield batch
        }
      }
      return eventStream(batches(), () => stream[Symbol.asyncDispose](), { incarnation: stream.incarnation ?? '' })
    },
  })
  const nameOf = (id: string): string => {
    const origin = originOf(id)
    return origin.id.includes(':') ? nameOf(origin.id) : `${origin.source}/${origin.id}`
  }
  const handled: string[] = []
  const shards = parallel({ name: 'p', handle: ({ id }) => void handled.push(nameOf(id)) }, { shards: 4, by: 'id' })
  for (const [n, consumer] of shards.entries()) {
    const inner = merge('inner', [inTurns(logs[0], 1 + 5 * n), inTurns(logs[1], 20 - 5 * n)])
    const outer = merge('outer', [inner, logs[2]])
    await run({ stream: outer.stream, cursors: memoryCursors(), consumer }, { toHead: true })
  }
  expect(handled.length).toBe(120)
  expect(new Set(handled).size).toBe(120)
})
