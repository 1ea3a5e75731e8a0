import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { openSqlite, sqliteDeadLetters } from '../../src/adapters/sqlite/index.ts'
import {
  type Clock,
  type Consumer,
  type Event,
  FencedError,
  type MemoryLog,
  memoryCursors,
  memoryLog,
  ReflexError,
  type RunError,
  run,
} from '../../src/core/index.ts'
import {
  constant,
  deadLetter,
  type Letters,
  memoryLetters,
  noRetry,
  retry,
  stopAfterAttempts,
  stopAfterTime,
  withTimeout,
} from '../../src/patterns/index.ts'
import { errorOf } from '../tools/reader.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'

const thrice = stopAfterAttempts(constant(10), 3)

function logOf(count: number): MemoryLog {
  const log = memoryLog({ batchSize: 3 })
  for (let i = 1; i <= count; i++) log.append({ type: i, foreignId: `e${i}` })
  return log
}

/** The letters of consumer `c`: event, status, attempts, message. */
async function told(letters: ReturnType<typeof memoryLetters>): Promise<unknown[]> {
  const all = (['failing', 'open', 'resolved'] as const).map((status) => letters.list({ consumer: 'c', status }))
  const found = (await Promise.all(all)).flat()
  return found.map(({ eventId, status, attempts, message }) => [eventId, status, attempts, message])
}

interface Life {
  /** The process is stopped after so many failed attempts. */
  readonly stopsAfter: number
}

describe('deadLetter', () => {
  test('makes as many attempts as the policy says over any number of restarts, and then goes past the event, which is kept', async () => {
    const plans = fc.record({
      fails: fc.array(fc.nat({ max: 5 }), { minLength: 1, maxLength: 6 }),
      lives: fc.array(fc.record<Life>({ stopsAfter: fc.integer({ min: 1, max: 4 }) }), { maxLength: 6 }),
    })
    await fc.assert(
      fc.asyncProperty(plans, async ({ fails, lives }) => {
        const clock = simulatedClock()
        const log = logOf(fails.length)
        const letters = memoryLetters({ clock })
        const cursors = memoryCursors()
        const calls: string[] = []
        const passed: string[] = []
        const live = async ({ stopsAfter }: Life): Promise<void> => {
          const stop = new AbortController()
          let failures = 0
          const consumer: Consumer = {
            name: 'c',
            handle: async ({ id }) => {
              calls.push(id)
              const nth = calls.filter((each) => each === id).length
              if (nth > (fails[Number(id) - 1] as number)) return
              if (++failures === stopsAfter) setImmediate(() => stop.abort('stopped')) // once it is stored
              throw new Error(`failure ${nth} of ${id}`)
            },
          }
          const observer = {
            passed: ({ eventId, as }: { eventId: string; as: string }) => void passed.push(`${as} ${eventId}`),
          }
          const spec = {
            stream: log.source.stream,
            cursors,
            consumer: deadLetter(consumer, { letters, policy: thrice, clock, observer }),
          }
          await clock.until(run(spec, { toHead: true, clock, signal: stop.signal }))
        }
        for (const life of lives) await live(life)
        await live({ stopsAfter: Number.POSITIVE_INFINITY })
        expect(await cursors.get('c')).toBe(`${fails.length}@1`)
        expect(calls).toEqual(fails.flatMap((count, i) => Array(Math.min(count + 1, 3)).fill(String(i + 1))))
        const dead = fails.flatMap((count, i) => (count >= 3 ? [String(i + 1)] : []))
        expect(passed).toEqual(dead.map((id) => `dead letter ${id}`))
        expect((await letters.list({ consumer: 'c' })).map(({ eventId, attempts }) => [eventId, attempts])).toEqual(
          dead.map((id) => [id, 3]),
        )
        expect(await letters.list({ consumer: 'c', status: 'failing' })).toEqual([])
        const mended = fails.flatMap((count, i) => (count > 0 && count < 3 ? [[String(i + 1), count]] : []))
        expect(
          (await letters.list({ consumer: 'c', status: 'resolved' })).map(({ eventId, attempts }) => [
            eventId,
            attempts,
          ]),
        ).toEqual(mended)
      }),
      { numRuns: 200 },
    )
  })

  test('has its recorder fail at any write: the cursor does not pass, nothing after it is handled, and nothing is lost', async () => {
    const plans = fc.record({
      fails: fc.array(fc.nat({ max: 4 }), { minLength: 1, maxLength: 5 }),
      faults: fc.array(fc.constantFrom('before', 'after', undefined), { maxLength: 12 }),
    })
    await fc.assert(
      fc.asyncProperty(plans, async ({ fails, faults }) => {
        const clock = simulatedClock()
        const log = logOf(fails.length)
        const memory = memoryLetters({ clock })
        const cursors = memoryCursors()
        const handled = new Set<string>()
        let writes = 0
        const faulty = async <T>(write: () => Promise<T>): Promise<T> => {
          const fault = faults[writes++]
          if (fault === 'before') throw new Error('no space')
          const result = await write()
          if (fault === 'after') throw new Error('lost reply')
          return result
        }
        const letters: Letters = {
          ...memory,
          attempt: (...about) => faulty(() => memory.attempt(...about)),
          record: (...about) => faulty(() => memory.record(...about)),
          resolve: (id) => faulty(() => memory.resolve(id)),
        }
        const calls: string[] = []
        const consumer: Consumer = {
          name: 'c',
          handle: ({ id }) => {
            calls.push(id)
            const nth = calls.filter((each) => each === id).length
            if (nth <= (fails[Number(id) - 1] as number)) throw new Error('no')
            handled.add(id)
          },
        }
        for (let attempts = 0; ; attempts++) {
          const spec = {
            stream: log.source.stream,
            cursors,
            consumer: deadLetter(consumer, { letters, policy: thrice, clock }),
          }
          const error = await clock.until(
            run(spec, { toHead: true, clock }).then(
              () => undefined,
              (thrown: RunError) => thrown,
            ),
          )
          const cursor = Number((await cursors.get('c')).split('@')[0])
          const open = new Set((await memory.list({ consumer: 'c' })).map(({ eventId }) => eventId))
          for (let id = 1; id <= cursor; id++) expect(handled.has(String(id)) || open.has(String(id))).toBe(true)
          if (error === undefined) break
          expect(attempts).toBeLessThan(13)
          expect(error.eventId).toBe(String(cursor + 1))
          expect(['DEAD_LETTER_UNRECORDED', 'HANDLE_FAILED']).toContain(error.code) // the latter where it could not be closed
          expect(calls.every((id) => Number(id) <= cursor + 1)).toBe(true)
        }
        expect(await cursors.get('c')).toBe(`${fails.length}@1`)
      }),
      { numRuns: 200 },
    )
  })

  test('gives the recorder the consumer, the error and the event in that order', async () => {
    const seen: unknown[][] = []
    const memory = memoryLetters()
    const letters: Letters = { ...memory, record: async (...about) => void seen.push(about.slice(0, 3)) }
    const error = new Error('no')
    const consumer = deadLetter({ name: 'c', handle: () => Promise.reject(error) }, { letters, policy: noRetry })
    const log = logOf(1)
    await run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true })
    expect(seen).toEqual([['c', error, expect.objectContaining({ id: '1', foreignId: 'e1' })]])
  })

  test('neither counts nor records what is expected: an abort, and another runner', async () => {
    const letters = memoryLetters()
    const stop = new AbortController()
    const aborted = deadLetter(
      {
        name: 'c',
        handle: () => {
          stop.abort()
          throw new Error('cut short')
        },
      },
      { letters, policy: noRetry },
    )
    const cursors = memoryCursors()
    const log = logOf(1)
    expect(await run({ stream: log.source.stream, cursors, consumer: aborted }, { signal: stop.signal })).toMatchObject(
      { cursor: '' },
    )
    const fenced = deadLetter(
      { name: 'c', handle: () => Promise.reject(new FencedError('x')) },
      { letters, policy: noRetry },
    )
    expect(
      await errorOf(run({ stream: log.source.stream, cursors, consumer: fenced }, { toHead: true })),
    ).toMatchObject({ code: 'FENCED' })
    expect(await told(letters)).toEqual([])
  })

  test('closes each letter of an event that is handled after all, also of many that were failing at once', async () => {
    const letters = memoryLetters()
    const log = logOf(250)
    for (let id = 1; id <= 250; id++) await letters.attempt('c', new Error('no'), event(String(id)))
    const consumer = deadLetter({ name: 'c', handle: () => {} }, { letters, policy: noRetry })
    await run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { toHead: true })
    expect(await letters.list({ consumer: 'c', status: 'failing' })).toEqual([])
    expect(await letters.list({ consumer: 'c', status: 'resolved', limit: 300 })).toHaveLength(250)
  })

  test('fails the run where the letter of an event that was handled cannot be closed, which is no failure of the event', async () => {
    const clock = simulatedClock()
    const memory = memoryLetters({ clock })
    let calls = 0
    let closings = 0
    const letters: Letters = {
      ...memory,
      resolve: async (id) => {
        if (++closings < 3) throw new Error('no connection')
        await memory.resolve(id)
      },
    }
    const handle = (): void => {
      if (++calls === 1) throw new Error('no')
    }
    const spec = {
      stream: logOf(1).source.stream,
      cursors: memoryCursors(),
      consumer: deadLetter({ name: 'c', handle }, { letters, policy: thrice, clock }),
    }
    for (const callsByThen of [2, 3]) {
      const error = await clock.until(errorOf(run(spec, { toHead: true, clock })))
      expect(error).toMatchObject({ stage: 'handle', eventId: '1', cause: { message: 'no connection' } })
      expect([calls, await told(memory)]).toEqual([callsByThen, [['1', 'failing', 1, 'no']]])
    }
    await run(spec, { toHead: true, clock })
    expect([calls, await told(memory)]).toEqual([4, [['1', 'resolved', 1, 'no']]])
  })

  test('does not handle an event again whose letter cannot be closed, whatever the store throws', async () => {
    for (const thrown of [new Error('no connection'), 'no connection']) {
      const memory = memoryLetters()
      await memory.attempt('c', new Error('no'), event('1'))
      let calls = 0
      const handle = (): void => void calls++
      const letters: Letters = { ...memory, resolve: () => Promise.reject(thrown) }
      const consumer = deadLetter({ name: 'c', handle }, { letters, policy: noRetry })
      const spec = { stream: logOf(1).source.stream, cursors: memoryCursors(), consumer }
      expect(await errorOf(run(spec, { toHead: true }))).toMatchObject({ stage: 'handle', cause: thrown })
      expect([calls, await told(memory)]).toEqual([1, [['1', 'failing', 1, 'no']]])
    }
  })

  test('counts a handler’s own timeout, which is no abort of the run', async () => {
    const letters = memoryLetters()
    const handle = (): Promise<never> => Promise.reject(new DOMException('the operation timed out', 'TimeoutError'))
    const consumer = deadLetter({ name: 'c', handle }, { letters, policy: noRetry })
    await run({ stream: logOf(1).source.stream, cursors: memoryCursors(), consumer }, { toHead: true })
    expect(await told(letters)).toEqual([['1', 'open', 1, 'the operation timed out']])
  })

  test('counts a timeout as a failure', async () => {
    const clock = simulatedClock()
    const letters = memoryLetters({ clock })
    const slow: Consumer = {
      name: 'c',
      handle: ({ id }, { signal }) => (id === '2' ? clock.sleep(1e9, signal) : undefined),
    }
    const consumer = deadLetter(withTimeout(slow, { timeoutMs: 100, clock }), { letters, policy: thrice, clock })
    const spec = { stream: logOf(3).source.stream, cursors: memoryCursors(), consumer }
    expect(await clock.until(run(spec, { toHead: true, clock }))).toMatchObject({ cursor: '3@1' })
    expect(await told(letters)).toEqual([['2', 'open', 3, expect.stringContaining('within 100 ms')]])
  })

  test('fails the run for good where a handler is stuck, each time, and goes past the event the last time', async () => {
    const clock = simulatedClock()
    const letters = memoryLetters({ clock })
    const cursors = memoryCursors()
    const log = logOf(3)
    const handled: string[] = []
    const outcomes: unknown[] = []
    for (let life = 0; life < 4; life++) {
      const stuck: Consumer = {
        name: 'c',
        handle: ({ id }) => {
          handled.push(id)
          return id === '2' ? clock.sleep(1e9) : undefined
        },
      }
      const limited = withTimeout(stuck, { timeoutMs: 100, graceMs: 10, clock })
      const consumer = deadLetter(limited, { letters, policy: thrice, clock })
      const ended = await clock.until(
        run({ stream: log.source.stream, cursors, consumer }, { toHead: true, clock }).catch(
          (error: RunError) => error,
        ),
      )
      outcomes.push([ended instanceof Error ? [ended.code, ended.retriable] : ended.reason, await cursors.get('c')])
    }
    const stuck = ['HANDLER_STUCK', false]
    expect(outcomes).toEqual([
      [stuck, '1@1'],
      [stuck, '1@1'],
      [stuck, '2@1'],
      ['head', '3@1'],
    ])
    expect(handled).toEqual(['1', '2', '2', '2', '3'])
    expect(await told(letters)).toMatchObject([['2', 'open', 3, expect.anything()]])
  })

  test('keeps the event that its filter fails at, tries it again by the policy, and asks recover before it gives up', async () => {
    const clock = simulatedClock()
    const letters = memoryLetters({ clock })
    let filtered = 0
    const consumer: Consumer = {
      name: 'c',
      filter: ({ id }) => {
        if (id === '1' && ++filtered < 3) throw new Error('not yet')
        if (id === '3') throw new Error('never')
        return true
      },
      handle: ({ id }) => {
        if (id === '2') throw new Error('recoverable')
      },
      recover: (error) => {
        if ((error as Error).message !== 'recoverable') throw error
      },
    }
    const spec = {
      stream: logOf(4).source.stream,
      cursors: memoryCursors(),
      consumer: deadLetter(consumer, { letters, policy: thrice, clock }),
    }
    expect(await clock.until(run(spec, { toHead: true, clock }))).toMatchObject({ cursor: '4@1' })
    expect(await told(letters)).toEqual([
      ['3', 'open', 3, 'never'],
      ['1', 'resolved', 2, 'not yet'],
      ['2', 'resolved', 3, 'recoverable'],
    ])
  })

  test('counts one attempt for all that retry makes within it', async () => {
    const clock = simulatedClock()
    const letters = memoryLetters({ clock })
    let calls = 0
    const bad: Consumer = {
      name: 'c',
      handle: () => {
        calls++
        throw new Error('no')
      },
    }
    const consumer = deadLetter(retry(bad, stopAfterAttempts(constant(1), 4), { clock }), {
      letters,
      policy: thrice,
      clock,
    })
    await clock.until(
      run({ stream: logOf(1).source.stream, cursors: memoryCursors(), consumer }, { toHead: true, clock }),
    )
    expect([calls, await told(letters)]).toEqual([12, [['1', 'open', 3, 'no']]])
  })

  test('counts time from the first failure on, over restarts', async () => {
    const clock = simulatedClock()
    const letters = memoryLetters({ clock })
    const cursors = memoryCursors()
    const policy = stopAfterTime(constant(1000), 3_600_000)
    const bad: Consumer = { name: 'c', handle: () => Promise.reject(new Error('no')) }
    const live = (signal: AbortSignal) => {
      const consumer = deadLetter(bad, { letters, policy, clock })
      return run({ stream: logOf(1).source.stream, cursors, consumer }, { toHead: true, clock, signal })
    }
    const stop = new AbortController()
    const first = live(stop.signal)
    await clock.advance(500)
    stop.abort()
    await first
    clock.pass(7_200_000)
    expect(await live(new AbortController().signal)).toMatchObject({ cursor: '1@1' })
    expect(await told(letters)).toEqual([['1', 'open', 2, 'no']])
  })

  test('says in one message why the event failed and why that could not be recorded, and is of the recorder’s kind', async () => {
    const cause = new ReflexError('MYSQL_DENIED', 'insert denied', { kind: 'auth' })
    const letters: Letters = { ...memoryLetters(), attempt: () => Promise.reject(cause) }
    const consumer = deadLetter(
      { name: 'c', handle: () => Promise.reject(new Error('no smtp')) },
      { letters, policy: noRetry },
    )
    const error = await errorOf(
      run({ stream: logOf(1).source.stream, cursors: memoryCursors(), consumer }, { toHead: true }),
    )
    expect(error).toMatchObject({ code: 'DEAD_LETTER_UNRECORDED', kind: 'auth', retriable: false, eventId: '1' })
    expect((error as Error).message).toMatch(/no smtp.*insert denied/)
  })
})

const event = (id: string): Event => ({ id, type: 1, foreignId: 'a', timestamp: 5, metadata: null, headers: {} })

describe.each([
  ['memoryLetters', (clock: Clock) => memoryLetters({ clock })],
  [
    'sqliteDeadLetters',
    () => {
      const letters = sqliteDeadLetters(openSqlite(':memory:'))
      letters.createTable()
      return letters
    },
  ],
])('%s', (_name, make) => {
  test('counts the attempts at what is failing, which is not open, until it is recorded or resolved', async () => {
    const letters = make(simulatedClock())
    const attempts = async (error: string): Promise<unknown> =>
      (await letters.attempt('c', new Error(error), event('1'))).attempts
    const list = async (): Promise<unknown> => {
      const page = async (status: 'failing' | 'open' | 'resolved') =>
        (await letters.list({ consumer: 'c', status })).map((each) => each.attempts)
      return [await page('failing'), await page('open'), await page('resolved')]
    }
    expect([await attempts('a'), await attempts('b'), await list()]).toEqual([1, 2, [[2], [], []]])
    await letters.record('c', new Error('b'), event('1'))
    expect(await list()).toEqual([[], [2], []]) // the failure was counted when it came
    expect([await attempts('c'), await list()]).toEqual([3, [[], [3], []]]) // met again: it stays open
    const [letter] = await letters.list({ consumer: 'c' })
    await letters.resolve(letter?.id as string)
    expect(await list()).toEqual([[], [], [3]])
    expect([await attempts('d'), await list()]).toEqual([1, [[1], [], []]]) // anew
    await letters.resolve(letter?.id as string)
    await letters.record('c', new Error('e'), event('1'))
    expect(await list()).toEqual([[], [2], []])
    expect((await letters.attempt('other', new Error('x'), event('1'))).attempts).toBe(1)
  })
})
