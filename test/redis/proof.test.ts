import fc from 'fast-check'
import type { Redis } from 'ioredis'
import { expect, test } from 'vitest'
import { compareIds } from '../../src/adapters/redis/entry-id.ts'
import { redisStream } from '../../src/adapters/redis/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Batch, Cursor } from '../../src/core/event.ts'
import type { EventStream } from '../../src/core/stream.ts'
import { wireNames } from '../../src/core/wire.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { errorOf, reader, within } from '../tools/reader.ts'
import { adapterClient, ownServer, testClient } from './fixture.ts'

const after = (a: string, b: string): boolean => compareIds(a, b) > 0

/** What is known of a key: each entry that it ever got and what became of it. Ids are never used twice. */
interface Log {
  readonly key: string
  readonly client: Redis
  /** Of the stream that is there now; a deleted key begins another one. */
  incarnation: number
  entries: { readonly id: string; fate: 'there' | 'deleted' | 'trimmed' }[]
  last: string
  nextMs: number
  /** Every position that a reader was ever given, and of which incarnation it is. */
  readonly cursors: Map<Cursor, number>
}

/** Whether what follows a position must be refused, must be read, or may be either. */
function verdict(log: Log, cursor: Cursor): 'refused' | 'read' | 'either' {
  const { entries, last, incarnation, cursors } = log
  const there = entries.filter(({ fate }) => fate === 'there')
  if (cursors.get(cursor) !== incarnation) {
    if (after(cursor, last)) return 'refused'
    // What XDEL has removed may have had the cursor's id, as far as the server can tell.
    const deleted = entries.some(({ id, fate }) => fate === 'deleted' && after(id, cursor))
    return deleted && there.some(({ id }) => after(cursor, id)) ? 'either' : 'refused'
  }
  if (entries.some(({ id, fate }) => fate === 'trimmed' && after(id, cursor))) return 'refused'
  // The one false positive: nothing at or before the cursor is left to show that nothing after it is gone.
  if (cursor !== last && there.every(({ id }) => after(id, cursor))) return 'either'
  return 'read'
}

/** The same of an open stream, which was last read when `added` entries had been appended. */
function verdictOpen(log: Log, { position, added }: OpenStream): ReturnType<typeof verdict> {
  if (position === '') return 'read'
  // Another stream that has had at least as many entries since may look like the one that was there.
  const replaced = log.cursors.get(position) !== log.incarnation && log.entries.length >= added
  const all = log.entries.filter(({ fate }) => fate === 'there')
  const looksAlike = replaced && after(log.last, position) && all.every(({ id }) => after(id, position))
  return looksAlike ? 'either' : verdict(log, position)
}

interface OpenStream {
  readonly stream: EventStream
  readonly iterator: AsyncIterator<Batch>
  position: Cursor
  added: number
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('add' as const), n: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('foreign' as const), n: fc.constant(1) }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom('xdel first', 'xdel', 'xdel last'), n: fc.nat({ max: 50 }) }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constantFrom('maxlen', 'maxlen ~', 'minid', 'minid ~'),
      n: fc.nat({ max: 12 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('xsetid', 'del', 'del, lower ids'), n: fc.constant(3) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('open' as const), n: fc.nat({ max: 50 }) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant('read' as const), n: fc.nat({ max: 3 }) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('resume' as const), n: fc.nat({ max: 200 }) }) },
)

async function change(log: Log, what: string, n: number): Promise<void> {
  const { client, key } = log
  const there = log.entries.filter(({ fate }) => fate === 'there')
  const add = async (...fields: [string, string]): Promise<void> => {
    const id = `${log.nextMs++}-${log.incarnation}`
    await client.xadd(key, id, ...fields)
    log.entries.push({ id, fate: 'there' })
    log.cursors.set(id, log.incarnation) // some reader has been there
    log.last = id
  }
  switch (what) {
    case 'add':
      for (let i = 0; i < n; i++) await add('metadata', 'x')
      return
    case 'foreign':
      return add(wireNames.type, 'of another')
    case 'xdel first':
    case 'xdel':
    case 'xdel last': {
      const at = { 'xdel first': 0, xdel: n % Math.max(1, there.length), 'xdel last': there.length - 1 }[what]
      const gone = there[at]
      if (gone === undefined) return
      await client.xdel(key, gone.id)
      gone.fate = 'deleted'
      return
    }
    case 'xsetid':
      if (log.entries.length === 0) return
      log.nextMs += n
      log.last = `${log.nextMs++}-${log.incarnation}`
      return void (await client.call('XSETID', key, log.last))
    case 'del':
    case 'del, lower ids':
      await client.del(key)
      log.incarnation++
      log.entries = []
      log.last = '0-0'
      if (what !== 'del') log.nextMs = Math.max(1, Math.floor(log.nextMs / 2))
      return
    default: {
      const [by, approximate] = what.split(' ')
      const threshold = by === 'maxlen' ? n : (there[n % Math.max(1, there.length)]?.id ?? '0-0')
      await client.call('XTRIM', key, by as string, ...(approximate ? ['~'] : []), threshold)
      const left = new Set((await client.xrange(key, '-', '+')).map(([id]) => id))
      for (const entry of there) if (!left.has(entry.id)) entry.fate = 'trimmed'
    }
  }
}

test('a cursor is refused if and only if something after it is gone, but for the one documented false positive', async () => {
  const server = await ownServer({ args: ['--stream-node-max-entries', '3'] }) // so that `~` trims as well
  const client = testClient(server.url)
  const verdicts = { refused: 0, read: 0, either: 0, 'either, refused': 0 }

  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30, size: 'max' }), async (steps) => {
      const key = fresh('log')
      const log: Log = { key, client, incarnation: 1, entries: [], last: '0-0', nextMs: 1, cursors: new Map() }
      const decode = () => ({ type: 1, foreignId: '', timestamp: 0, metadata: null, headers: {} })
      const source = redisStream(adapterClient(server.url), { key, batchSize: 2, decode })
      const open: OpenStream[] = []
      const there = (position: Cursor): string[] =>
        log.entries.flatMap(({ id, fate }) =>
          fate === 'there' && (position === '' || after(id, position)) ? [id] : [],
        )
      const seen = (cursor: Cursor): void => {
        if (cursor !== '' && !log.cursors.has(cursor)) log.cursors.set(cursor, log.incarnation)
      }
      const expectBatch = ({ events, cursor }: Batch, position: Cursor): void => {
        const ids = events.map(({ id }) => id)
        expect(ids).toEqual(there(position).slice(0, ids.length))
        // What was passed over without an event is not there.
        expect(
          there(position)
            .slice(ids.length)
            .filter((id) => !after(id, cursor)),
        ).toEqual([])
        for (const each of [...ids, cursor]) seen(each)
      }
      const judge = (position: Cursor, expected: ReturnType<typeof verdict>, refused: boolean): void => {
        verdicts[expected]++
        if (expected === 'either' && refused) verdicts['either, refused']++
        const found = refused ? 'refused' : 'read'
        expect({ position, found: expected === 'either' ? expected : found }).toEqual({ position, found: expected })
      }
      const expectRefusal = (error: unknown): void => expect(codeOf(error)).toMatch(/^CURSOR_(TRIMMED|AHEAD)$/)

      try {
        for (const { do: what, n } of steps) {
          if (what === 'resume' || what === 'open') {
            const cursors = ['', ...log.cursors.keys()]
            const cursor = cursors[n % cursors.length] as string
            const opened = await source.stream(cursor, { toHead: what === 'resume' }).catch((error: unknown) => error)
            judge(cursor, cursor === '' ? 'read' : verdict(log, cursor), opened instanceof Error)
            if (opened instanceof Error) expectRefusal(opened)
            else if (what === 'open') {
              const stream = opened as EventStream
              const iterator = stream[Symbol.asyncIterator]()
              open.push({ stream, iterator, position: cursor, added: log.entries.length })
            } else {
              let position = cursor
              for await (const batch of opened as EventStream) {
                expectBatch(batch, position)
                position = batch.cursor
              }
              expect(there(position)).toEqual([])
            }
          } else if (what === 'read') {
            const each = open[n % Math.max(1, open.length)]
            if (each === undefined) continue
            const { iterator, position } = each
            const expected = verdictOpen(log, each)
            if (expected !== 'refused' && there(position).length === 0) continue // it would wait
            const outcome = await within(iterator.next(), 5000, 'a read').catch((error: unknown) => error)
            if (outcome instanceof Error) {
              judge(position, expected, true)
              expectRefusal(outcome)
              open.splice(open.indexOf(each), 1)
              await each.stream[Symbol.asyncDispose]()
            } else {
              judge(position, expected, false)
              const batch = (outcome as IteratorResult<Batch>).value as Batch
              expectBatch(batch, position)
              each.position = batch.cursor
              each.added = log.entries.length
            }
          } else await change(log, what, n)
        }
      } finally {
        for (const { stream } of open) await stream[Symbol.asyncDispose]()
      }
    }),
    { numRuns: 200 },
  )
  expect(Math.min(verdicts.refused, verdicts.read, verdicts.either, verdicts['either, refused'])).toBeGreaterThan(5)
}, 120_000)

test('an entry of whatever fields is an event, or an error that tells its position: none is passed over', async () => {
  const client = testClient()
  const bytes = fc.oneof(
    fc.constantFrom(...Object.values(wireNames), 'metadata', 'h:metadata', 'h:', '', '1', 'x', '2026-01-02T03:04:05Z'),
    fc.string({ unit: 'grapheme', maxLength: 4 }),
    fc.uint8Array({ maxLength: 4 }).map((part) => Buffer.from(part)),
  )
  const fields = fc.array(fc.tuple(bytes, bytes), { minLength: 1, maxLength: 8 })
  const outcomes = { event: 0, error: 0 }
  await fc.assert(
    fc.asyncProperty(fc.array(fields, { minLength: 1, maxLength: 10 }), async (entries) => {
      const key = fresh('log')
      const ids: string[] = []
      for (const pairs of entries) {
        const twice = [...pairs, ...pairs.slice(0, 1)] // a name that comes again
        ids.push((await client.xadd(key, '*', ...(twice.flat() as string[]))) as string)
      }
      const source = redisStream(adapterClient(), { key, batchSize: 3 })
      const told: string[] = []
      for (let cursor = ''; ; ) {
        await using stream = reader(await source.stream(cursor, { toHead: true }), cursor)
        const events: string[] = []
        const error = await (async () => {
          for (;;) events.push(...(await stream.batch()).events.map(({ id }) => id))
        })().catch((error: unknown) => error)
        told.push(...events)
        outcomes.event += events.length
        if (codeOf(error) !== 'EVENT_UNDECODABLE') break
        const { position } = error as { readonly position: string }
        expect(stream.cursor).toBe(told.at(-1) ?? '')
        told.push(position)
        outcomes.error++
        cursor = position
      }
      expect(told).toEqual(ids)
    }),
    { numRuns: 40 },
  )
  expect(Math.min(outcomes.event, outcomes.error)).toBeGreaterThan(20)
})

test('trap ioredis 3: a cursor whose entry was the last one trimmed cannot be told from one that lost entries: it is refused', async () => {
  const client = testClient()
  const remove: ((key: string, ids: readonly string[]) => Promise<unknown>)[] = [
    (key, ids) => client.xtrim(key, 'MINID', ids[2] as string),
    (key, ids) => client.xdel(key, ids[0] as string, ids[1] as string),
  ]
  for (const each of remove) {
    const key = fresh('log')
    const ids: string[] = []
    for (let i = 0; i < 4; i++) ids.push((await client.xadd(key, '*', 'n', i)) as string)
    const source = redisStream(adapterClient(), { key })
    await each(key, ids)
    const error = await errorOf(source.stream(ids[1] as string, {}))
    expect(error).toMatchObject({ code: 'CURSOR_TRIMMED', cursor: ids[1], earliest: ids[2], retriable: false })
    await using whole = reader(await source.stream(ids[2] as string, { toHead: true }))
    expect((await whole.rest()).map(({ id }) => id)).toEqual([ids[3]])
  }
})
