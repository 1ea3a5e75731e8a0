import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { headerBlock } from '../../src/adapters/jetstream/codec.ts'
import type { Batch } from '../../src/core/event.ts'
import type { EventStream } from '../../src/core/stream.ts'
import { errorOf, within } from '../tools/reader.ts'
import { type ClientName, clientNames, connector } from './fixture.ts'
import { type SourceLog, sourceLog } from './source-log.ts'

const tokens = ['a.x', 'a.y', 'b.x', 'b.y'] as const
type Token = (typeof tokens)[number]

/** What happens to a stream and its reader; numbers are taken modulo what there is. */
type Step =
  | { readonly publish: readonly Token[] }
  | { readonly remove: number | 'front' | 'tail' }
  | { readonly purge: { readonly filter?: string; readonly keep?: number; readonly before?: number } }
  | { readonly limit: number }
  | { readonly rollUp: Token }
  | 'read'
  | 'catch up'
  | 'catch up to head'
  | 'wait'

const pattern = fc.constantFrom('a.x', 'a.*', 'a.>', '*.x', 'b.>', '*.*')
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ publish: fc.array(fc.constantFrom(...tokens), { minLength: 1, maxLength: 4 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ remove: fc.oneof(fc.nat(), fc.constantFrom('front' as const, 'tail' as const)) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      purge: fc.oneof(
        fc.record({ filter: pattern }, { requiredKeys: [] }),
        fc.record({ filter: pattern, keep: fc.integer({ min: 1, max: 3 }) }, { requiredKeys: ['keep'] }),
        fc.record({ filter: pattern, before: fc.nat() }, { requiredKeys: ['before'] }),
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ limit: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 1, arbitrary: fc.record({ rollUp: fc.constantFrom(...tokens) }) },
  { weight: 3, arbitrary: fc.constant('read' as const) },
  { weight: 1, arbitrary: fc.constant('catch up' as const) },
  { weight: 2, arbitrary: fc.constant('catch up to head' as const) },
  { weight: 2, arbitrary: fc.constant('wait' as const) },
)

/** Whether a subject of the stream matches one of the filters, which have no more than two tokens. */
function matches(token: Token, filters: readonly string[]): boolean {
  const [first, second] = token.split('.')
  return filters.some((filter) => {
    const [a, b] = filter.split('.')
    return a === '>' || ((a === '*' || a === first) && (b === '*' || b === '>' || b === second))
  })
}

interface Schedule {
  readonly filters: readonly string[]
  readonly batchSize: number
  readonly steps: readonly Step[]
}

/** A reader that is held to what the server has; the messages that there ever were are known. */
async function follow(client: ClientName, { filters, batchSize, steps }: Schedule): Promise<number> {
  const one: SourceLog = await sourceLog({ allow_rollup_hdrs: true })
  const subjects = filters.map((filter) => `${one.stream}.${filter}`)
  const source = one.source({ connect: connector(client), subjects, batchSize })
  const published: Token[] = []
  let errors = 0
  let position: bigint | undefined // where a stream of "" begins is not known before its first batch
  let stream: EventStream = await source.stream('', {})
  let iterator = stream[Symbol.asyncIterator]()
  let asked: { readonly first: bigint; readonly batch: Promise<IteratorResult<Batch>> } | undefined

  const bounds = async (): Promise<{ first: bigint; last: bigint }> => {
    const { state } = await one.admin.info(one.stream)
    return { first: BigInt(Math.max(1, state.first_seq)), last: BigInt(state.last_seq) } // 0 before the first message
  }
  const ask = async (): Promise<NonNullable<typeof asked>> => {
    if (asked !== undefined) return asked
    const { first } = await bounds()
    asked = { first, batch: iterator.next() }
    asked.batch.catch(() => {})
    return asked
  }
  const open = async (after: bigint | undefined): Promise<void> => {
    await stream[Symbol.asyncDispose]()
    asked = undefined
    position = after
    stream = await source.stream(after === undefined ? '' : String(after), {})
    iterator = stream[Symbol.asyncIterator]()
  }

  /** Only what has been removed from the front may be an error, and only at or after the position. */
  async function checkError(error: unknown): Promise<void> {
    expect(error).toMatchObject({ code: 'CURSOR_TRIMMED' })
    expect(position).toBeDefined()
    expect((await bounds()).first).toBeGreaterThan((position as bigint) + 1n)
    errors++
  }

  /** Everything that follows the position up to the cursor has come, or was removed, but not from the front. */
  async function checkBatch({ events, cursor }: Batch, firstWhenAsked: bigint): Promise<void> {
    const to = BigInt(cursor)
    const there = new Set((await one.admin.messages(one.stream)).map(({ seq }) => BigInt(seq)))
    const from = position ?? (await bounds()).first - 1n
    let last = position ?? 0n
    for (const { id, foreignId } of events) {
      expect(BigInt(id)).toBeGreaterThan(last)
      last = BigInt(id)
      const token = published[Number(id) - 1] as Token
      expect(foreignId).toBe(`${one.stream}.${token}`)
      expect(matches(token, filters)).toBe(true)
    }
    expect(to).toBeGreaterThanOrEqual(last)
    const come = new Set(events.map(({ id }) => BigInt(id)))
    let missing: bigint | undefined
    for (let seq = from + 1n; seq <= to; seq++) {
      if (come.has(seq) || !matches(published[Number(seq) - 1] as Token, filters)) continue
      expect(there.has(seq), `${seq} was passed over on the way from ${from} to ${to}`).toBe(false)
      missing ??= seq
    }
    if (missing !== undefined) expect(firstWhenAsked).toBeLessThanOrEqual(missing)
    position = to
  }

  async function read(): Promise<void> {
    const { first, batch } = await ask()
    try {
      const { value } = await within(batch, 10_000, 'a batch')
      asked = undefined
      await checkBatch(value as Batch, first)
    } catch (error) {
      if (asked === undefined) throw error
      await checkError(error)
      await open(undefined)
    }
  }
  const isBehind = async (): Promise<boolean> => {
    const { first, last } = await bounds()
    return last > (position ?? first - 1n)
  }

  async function toHead(): Promise<void> {
    const { first, last } = await bounds()
    const after = position === undefined ? '' : String(position)
    if (position !== undefined && first > position + 1n) {
      await checkError(await errorOf(source.stream(after, { toHead: true })))
      return open(undefined)
    }
    await using rest = await source.stream(after, { toHead: true })
    for await (const batch of rest) await checkBatch(batch, first)
    expect(position ?? last).toBe(last)
    await open(position)
  }

  async function act(step: Step): Promise<void> {
    const there = (await one.admin.messages(one.stream)).map(({ seq }) => seq)
    if (step === 'wait') await ask()
    else if (step === 'read') {
      if (await isBehind()) await read()
    } else if (step === 'catch up') {
      while (await isBehind()) await read()
    } else if (step === 'catch up to head') await toHead()
    else if ('publish' in step) {
      for (const token of step.publish) {
        published.push(token)
        await one.publish(token)
      }
    } else if ('rollUp' in step) {
      published.push(step.rollUp)
      await one.admin.publish(`${one.stream}.${step.rollUp}`, 'x', headerBlock('Nats-Rollup: sub\r\n'))
    } else if ('remove' in step) {
      const at = { front: 0, tail: -1 }[step.remove as 'front'] ?? Number(step.remove) % there.length
      const seq = there.at(at)
      if (seq !== undefined) await one.remove(String(seq))
    } else if ('purge' in step) {
      const { filter, keep, before } = step.purge
      await one.purge({
        ...(filter === undefined ? {} : { filter: `${one.stream}.${filter}` }),
        ...(keep === undefined ? {} : { keep }),
        ...(before === undefined ? {} : { seq: 1 + (before % (published.length + 1)) }),
      })
    } else {
      const { config } = await one.admin.info(one.stream)
      await one.admin.api(`STREAM.UPDATE.${one.stream}`, { ...config, max_msgs: step.limit })
      await one.admin.api(`STREAM.UPDATE.${one.stream}`, config)
    }
  }

  try {
    for (const each of steps) await act(each)
    await act('catch up')
    return errors
  } finally {
    await stream[Symbol.asyncDispose]()
    await one.end()
  }
}

describe.concurrent.each(clientNames)('%s', (client) => {
  test('a reader with a filter loses nothing, and is told of what was trimmed only if it was', {
    timeout: 120_000,
  }, async () => {
    const single = ['a.x', 'a.*', 'a.>', '*.x', '>', '>'].map((filter) => [filter])
    const filters = fc.constantFrom(...single, ['a.x', 'b.*'])
    const schedule = fc.record({
      filters,
      batchSize: fc.constantFrom(1, 3, 100),
      steps: fc.array(step, { minLength: 5, maxLength: 25 }),
    })
    let errors = 0
    await fc.assert(
      fc.asyncProperty(fc.array(schedule, { minLength: 8, maxLength: 8 }), async (schedules) => {
        for (const found of await Promise.all(schedules.map((each) => follow(client, each)))) errors += found
      }),
      { numRuns: 6, endOnFailure: true },
    )
    expect(errors).toBeGreaterThan(0)
  })
})
