import { describe, expect, test } from 'vitest'
import type { Event } from '../../src/core/event.ts'
import type { TableReader } from '../../src/sql/table-reader.ts'
import { type TableStreamOptions, tableStreams } from '../../src/sql/table-stream.ts'
import { createWakeups } from '../../src/sql/wakeups.ts'
import { type Reader, reader, within } from '../tools/reader.ts'

const event = (id: number): Event => ({
  id: String(id),
  type: 1,
  foreignId: 'a',
  timestamp: 0,
  metadata: null,
  headers: {},
})

/** A table of which the test decides what is visible at which moment. */
function scripted(overrides: Partial<TableReader> = {}): TableReader & { readonly visible: Set<number> } {
  const visible = new Set<number>()
  const from = (first: number): Event[] =>
    [...visible]
      .filter((id) => id >= first)
      .sort((a, b) => a - b)
      .map(event)
  return {
    visible,
    page: async (first, limit) => from(Number(first)).slice(0, limit),
    newest: async () => BigInt(Math.max(0, ...visible)),
    settleWriters: async () => {},
    [Symbol.asyncDispose]: async () => {},
    ...overrides,
  }
}

async function open(table: TableReader, options: TableStreamOptions = {}, wakeups = createWakeups()): Promise<Reader> {
  return reader(await tableStreams('scripted', async () => table, wakeups, options)('', {}))
}

describe('a table stream', () => {
  test('hears a wake-up that comes while it asks, after what it asks was decided', async () => {
    const wakeups = createWakeups()
    let asked = 0
    const table: ReturnType<typeof scripted> = scripted({
      page: async () => {
        const found = [...table.visible].map(event)
        if (++asked === 3) {
          table.visible.add(1)
          wakeups.wake()
        }
        return found
      },
    })
    await using stream = await open(table, { pollMs: { min: 60_000, max: 60_000 } }, wakeups)
    expect(await within(stream.take(1), 2000, 'being woken')).toEqual([event(1)])
  })

  test('asks again after the writers of a gap have ended, and passes over what is missing then', async () => {
    const settled: number[][] = []
    const table = scripted({
      settleWriters: async () => {
        settled.push([...table.visible])
        if (settled.length === 1) for (const id of [2, 6, 9]) table.visible.add(id)
      },
    })
    for (const id of [3, 5]) table.visible.add(id)
    await using stream = await open(table)
    expect((await stream.take(5)).map(({ id }) => id)).toEqual(['2', '3', '5', '6', '9'])
    // 1 and 4 were decided with what was newest before the first wait, 7 and 8 were not.
    expect(settled).toEqual([
      [3, 5],
      [3, 5, 2, 6, 9],
    ])
  })

  test('has batches of batchSize at most, also the first one', async () => {
    const table = scripted()
    for (let id = 1; id <= 25; id++) table.visible.add(id)
    await using stream = await open(table, { batchSize: 10 })
    const sizes = [await stream.batch(), await stream.batch(), await stream.batch()].map(({ events }) => events.length)
    expect(sizes).toEqual([10, 10, 5])
  })
})
