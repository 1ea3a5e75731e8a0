import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Event } from '../../src/core/event.ts'
import { tableWindow } from '../../src/sql/table-window.ts'
import { numberedEvent } from './simulated-table.ts'

const PAYLOAD = 10
const ids = (events: readonly Event[] | undefined): number[] | undefined => events?.map(({ id }) => Number(id))
const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0)

/** A page's steps from id to id, and then whom everybody has passed, if anybody: so many rows before the end. */
const page = fc.record({
  steps: fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 5 }),
  behind: fc.option(fc.nat({ max: 12 }), { nil: undefined }),
})
const run = fc.record({
  start: fc.integer({ min: 0, max: 5 }),
  pages: fc.array(page, { maxLength: 12 }),
  maxEvents: fc.integer({ min: 1, max: 12 }),
  maxBytes: fc.integer({ min: 1, max: 120 }),
})

test('a window hands on every row after a position once and in order, and holds as much as it may', () => {
  fc.assert(
    fc.property(run, ({ start, pages, maxEvents, maxBytes }) => {
      const window = tableWindow(BigInt(start), { maxEvents, maxBytes })
      const read: number[][] = []
      let forgotten = start
      const check = (): void => {
        const all = read.flat()
        const end = all.at(-1) ?? start
        expect(window.end).toBe(BigInt(end))
        for (let position = 0; position <= end + 2; position++) {
          const first = ids(window.after(BigInt(position)))
          const left = read.filter((each) => (each.at(-1) as number) > position)
          if (first === undefined) {
            const isRow = position === start || all.includes(position)
            const fits = sum(left.map(({ length }) => length)) <= maxEvents && sum(left.map(bytesOf)) <= maxBytes
            const isHeld = position >= forgotten && (fits || left.length === 1)
            expect(isRow && isHeld, `${position} is a row, and is held`).toBe(false)
            continue
          }
          const following = [...first]
          for (let next = first; next.length > 0; following.push(...next)) {
            next = ids(window.after(BigInt(next.at(-1) as number))) ?? [Number.NaN]
          }
          expect(following, `what follows ${position}`).toEqual(all.filter((id) => id > position))
          if (position < end && left.length > 1) {
            const held = left.slice(1)
            expect(sum(held.map(({ length }) => length))).toBeLessThanOrEqual(maxEvents)
            expect(sum(held.map(bytesOf))).toBeLessThanOrEqual(maxBytes)
          }
        }
      }
      let id = start
      for (const { steps, behind } of pages) {
        const rows = steps.map((step) => (id += step))
        read.push(rows)
        window.append(rows.map((each) => numberedEvent(each, PAYLOAD)))
        check()
        if (behind === undefined) continue
        const passed = [start, ...read.flat()].at(-1 - behind) ?? start
        forgotten = Math.max(forgotten, passed)
        window.forget(BigInt(passed))
        check()
        const whole = read.filter((each) => (each.at(-1) as number) <= passed)
        const gone = whole.at(-1)?.[0]
        if (gone !== undefined) expect(window.after(BigInt(gone - 1)), 'what all have passed').toBeUndefined()
      }
    }),
    { numRuns: 150 },
  )
})

function bytesOf(page: readonly number[]): number {
  return page.length * PAYLOAD
}
