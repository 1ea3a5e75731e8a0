import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import type { RouteConfig } from '../../src/service/config/parse-config.ts'
import { type ControlRecord, formatControl, parseControl } from '../../src/service/control/control-record.ts'
import { processName } from '../../src/service/control/process-name.ts'
import { watchControl } from '../../src/service/control/watch-control.ts'
import { eventually, within } from '../tools/reader.ts'

const context = { createTables: false, readOnly: false }
const record: ControlRecord = { wanted: 'paused', by: 'ann', at: '2026-11-26T10:00:00.000Z' }

type Part = 'open' | 'get' | 'set'

/** A route whose control store stops answering where it is told to; `hung` counts the calls that were not answered. */
function hangingRoute(stored: ControlRecord) {
  const cursors = memoryCursors()
  const state = { hangs: undefined as Part | undefined, hung: 0, closed: 0 }
  const answer = async <T>(part: Part, work: () => Promise<T>): Promise<T> => {
    if (state.hangs !== part) return await work()
    state.hung++
    return await new Promise<never>(() => {})
  }
  const controls = {
    get: (key: string) => answer('get', () => cursors.get(key)),
    set: (key: string, next: string, expected: string) => answer('set', () => cursors.set(key, next, expected)),
    reset: cursors.reset,
  }
  const opened = { part: { controls, prefix: '' }, [Symbol.asyncDispose]: async () => void state.closed++ }
  const route = { name: 'orders', control: { name: 'memory', open: () => answer('open', async () => opened) } }
  return {
    state,
    route: route as unknown as RouteConfig,
    cursors,
    ready: cursors.set('orders', formatControl(stored), ''),
  }
}

describe('what is wanted of a route', () => {
  it.each<Part>(['open', 'get', 'set'])(
    'is no longer watched soon, also if its store does not answer: %s',
    async (part) => {
      const { state, route, ready } = hangingRoute(record)
      await ready
      const control = watchControl(route, context)
      if (part === 'set') expect(await control.read()).toBe('paused')
      state.hangs = part
      if (part === 'set') control.obeys('paused')
      else control.read().catch(() => {})
      await eventually(() => state.hung > 0, 1000, 'the store hangs')
      await within(control[Symbol.asyncDispose](), 3000, 'the end of the watch')
    },
  )

  it('is answered before the watch ends, if the store answers', async () => {
    const { state, route, ready, cursors } = hangingRoute(record)
    await ready
    const control = watchControl(route, context)
    await control.read()
    control.obeys('paused')
    await control[Symbol.asyncDispose]()
    expect(parseControl('orders', await cursors.get('orders'))?.obeyed).toMatchObject({ by: processName })
    expect(state.closed).toBe(1)
  })
})

describe('a record of what is wanted', () => {
  it('is read as it was written, or refused: whatever else stands there is no record', () => {
    const name = fc.string({ maxLength: 5 })
    const records: fc.Arbitrary<ControlRecord> = fc.record(
      {
        wanted: fc.constantFrom('running' as const, 'paused' as const, 'stopped' as const),
        by: name,
        at: name,
        obeyed: fc.record({ by: name, at: name }),
        ask: fc.record({ id: name, answers: fc.array(fc.record({ by: name, obeys: fc.boolean() }), { maxLength: 2 }) }),
      },
      { requiredKeys: ['wanted', 'by', 'at'] },
    )
    const wrong = fc.constantFrom<unknown>(
      null,
      7,
      'x',
      {},
      [],
      [null],
      [{}],
      [{ by: 'a' }],
      { id: 'a' },
      { answers: [] },
    )
    const places = fc.constantFrom('by', 'at', 'obeyed', 'ask', 'ask.id', 'ask.answers')
    fc.assert(
      fc.property(records, places, wrong, (one, place, found) => {
        expect(parseControl('orders', formatControl(one))).toEqual(one)
        const [outer = '', inner] = place.split('.')
        const broken = inner === undefined ? found : { ...(one.ask ?? { id: 'a', answers: [] }), [inner]: found }
        // What may stand there after all.
        if (typeof found === 'string' && ['by', 'at', 'ask.id'].includes(place)) return
        if (place === 'ask.answers' && Array.isArray(found) && found.length === 0) return
        expect(() => parseControl('orders', JSON.stringify({ ...one, [outer]: broken }))).toThrow(
          /what is wanted of the route orders cannot be read/,
        )
      }),
    )
  })
})
