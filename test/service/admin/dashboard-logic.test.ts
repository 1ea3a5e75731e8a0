import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { formatCount, formatRate, formatSeconds, formatShort } from '../../../src/service/admin/dashboard/format.ts'
import { CURVE_MS, rateCurve } from '../../../src/service/admin/dashboard/rate-curve.ts'
import { readUpdates } from '../../../src/service/admin/dashboard/updates.ts'

describe('the rate curve', () => {
  const curve = (...counts: readonly (readonly [at: number, forwarded: number])[]) => {
    const made = rateCurve()
    for (const [at, forwarded] of counts) made.add(at, forwarded)
    return made
  }
  const size = { width: 180, height: 100 } // one unit a second

  it('is the events per second between two counts, the last at the right edge, the most at the top', () => {
    const made = curve([0, 1000], [1000, 1100], [2000, 1150], [4000, 1150])
    expect(made.path(size)).toBe('M177.0 0.0L178.0 50.0L180.0 100.0')
    expect(made.peak).toBe(100)
    expect(made.now).toBeCloseTo(50 / 3) // over the last 3 s
  })

  it('has a hole where counts are missing, and where the process started anew', () => {
    expect(curve([0, 0], [1000, 10], [20_000, 5000], [21_000, 5010]).path(size)).toBe('M160.0 0.0M180.0 0.0')
    expect(curve([0, 500], [1000, 510], [2000, 3], [3000, 13]).path(size)).toBe('M178.0 0.0M180.0 0.0')
    expect(curve([0, 500], [1000, 510], [2000, 3]).now).toBe(0)
  })

  it('is level at the bottom where nothing happens, and empty without two counts', () => {
    expect(curve([0, 7], [1000, 7], [2000, 7]).path(size)).toBe('M179.0 100.0L180.0 100.0')
    expect(curve().path(size)).toBe('')
    expect([curve([0, 7]).path(size), curve([0, 7]).now, curve([0, 7]).peak]).toEqual(['', 0, 0])
  })

  it('keeps three minutes, and stays within its frame', () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: 20_000 }), fc.nat(100_000)), { maxLength: 400 })
    fc.assert(
      fc.property(steps, (given) => {
        let at = 0
        const made = rateCurve()
        for (const [afterMs, forwarded] of given) {
          at += afterMs
          made.add(at, forwarded)
        }
        const points = [...made.path(size).matchAll(/[ML](\S+) ([^ML]+)/g)].map(
          ([, x, y]) => [Number(x), Number(y)] as const,
        )
        expect(points.length).toBeLessThanOrEqual(CURVE_MS) // one a millisecond at most
        for (const [x, y] of points) expect(x >= 0 && x <= size.width && y >= 0 && y <= size.height).toBe(true)
        expect(points.every(([x], i) => i === 0 || x >= (points[i - 1]?.[0] ?? 0))).toBe(true)
        expect(Number.isFinite(made.now) && made.now >= 0).toBe(true)
      }),
    )
  })
})

describe('updates', () => {
  it('hold what is a line end to JavaScript and not to server-sent events', async () => {
    const bytes = new TextEncoder().encode('event: routes\ndata: a\u2028b\n\n')
    const read = vi.fn(async () => ({ done: read.mock.calls.length > 1, value: bytes }))
    const found: unknown[] = []
    for await (const update of readUpdates({ getReader: () => ({ read }) }, () => {})) found.push(update)
    expect(found).toEqual([{ event: 'routes', data: 'a\u2028b' }])
  })

  it('are the same however the bytes are cut', async () => {
    const given = fc.array(
      fc.record({
        event: fc.constantFrom('routes', 'end'),
        data: fc
          .string({ unit: 'grapheme', minLength: 1 })
          .map((text) => text.toWellFormed().replace(/[\r\n]/g, ''))
          .filter((text) => text !== ''),
      }),
    )
    await fc.assert(
      fc.asyncProperty(given, fc.integer({ min: 1, max: 20 }), async (updates, size) => {
        const text = updates.map(({ event, data }) => `: still here\n\nevent: ${event}\ndata: ${data}\n\n`).join('')
        const bytes = new TextEncoder().encode(`retry: 2000\n\n${text}`)
        let at = 0
        const read = async () => {
          const value = bytes.slice(at, at + size)
          at += size
          return value.length === 0 ? { done: true } : { done: false, value }
        }
        let signs = 0
        const found: unknown[] = []
        for await (const update of readUpdates({ getReader: () => ({ read }) }, () => signs++)) found.push(update)
        expect(found).toEqual(updates)
        expect(signs).toBe(Math.ceil(bytes.length / size))
      }),
    )
  })
})

describe('numbers for people', () => {
  it('are exact where they are counts, and short where they are times', () => {
    expect(formatCount('9007199254740993')).toBe('9,007,199,254,740,993')
    expect([9_999_999, 123_456_789n].map(formatShort)).toEqual(['9,999,999', '123.5M'])
    expect([0, 0.25, 9, 1234.6].map(formatRate)).toEqual(['0', '0.3', '9.0', '1,235'])
    expect([0, 0.0042, 3.21, 61, 600, 90_000, 400_000].map(formatSeconds)).toEqual([
      ...['0 s', '4 ms', '3.2 s', '61 s', '10 min', '25 h', '5 days'],
    ])
  })
})
