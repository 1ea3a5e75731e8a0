import fc from 'fast-check'
import type { Event, NewEvent } from '../../src/core/event.ts'
import { addHeader, headerPairs, wireNames } from '../../src/core/wire.ts'

/** What a log can carry; every default is "everything". */
export interface Fidelity {
  /** `all`: any names, several values each. `some`: one value each, ASCII. `none`: the log has no headers. Default: `all`. */
  readonly headers?: 'all' | 'some' | 'none' | undefined
  /** Whether null and empty payloads are told apart. Default: true. */
  readonly nulls?: boolean | undefined
  /** Foreign ids of this log. Default: any well-formed string of up to 40 code points, the empty one too. */
  readonly foreignIds?: fc.Arbitrary<string> | undefined
}

const reserved = new Set<string>(Object.values(wireNames))
const text = (maxLength: number): fc.Arbitrary<string> => fc.string({ unit: 'binary', maxLength })
const ascii = (o: fc.StringConstraints): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...'abcXYZ019-_'), ...o })

/** Events of every kind that the contract allows: any bytes, µs timestamps, Unicode ids, headers with several values. */
export function arbitraryEvent({
  headers = 'all',
  nulls = true,
  foreignIds,
}: Fidelity = {}): fc.Arbitrary<Required<NewEvent>> {
  const name = (
    headers === 'all'
      ? fc.string({ unit: 'binary', minLength: 1, maxLength: 12 })
      : ascii({ minLength: 1, maxLength: 12 })
  ).filter((each) => !reserved.has(each))
  const values =
    headers === 'all'
      ? fc.array(text(20), { minLength: 1, maxLength: 3 })
      : fc.array(ascii({ maxLength: 20 }), { minLength: 1, maxLength: 1 })
  return fc
    .record({
      type: fc.oneof(fc.integer(), fc.constantFrom(0, 1, -1, 2 ** 31 - 1, -(2 ** 31))),
      foreignId:
        foreignIds ?? fc.oneof(text(40), fc.constantFrom('', '0', ' ', 'a b', 'ключ', '🪵', '%25', 'a\nb', '\u0000')),
      // µs from 1970 to 2100
      timestamp: fc.integer({ min: 0, max: 4_102_444_800_000_000 }).map((micros) => micros / 1000),
      metadata: nulls ? fc.option(fc.uint8Array({ maxLength: 300 })) : fc.uint8Array({ minLength: 1, maxLength: 300 }),
      pairs:
        headers === 'none'
          ? fc.constant([])
          : fc.uniqueArray(fc.tuple(name, values), { selector: ([each]) => each, maxLength: 4 }),
    })
    .filter(({ type, foreignId }) => !(type === 0 && foreignId === '0')) // reflex's no-op, which its tables refuse
    .map(({ pairs, ...event }) => {
      const collected: Record<string, string | string[]> = {}
      for (const [each, all] of pairs) for (const value of all) addHeader(collected, each, value)
      return { ...event, headers: collected }
    })
}

/** An event in a form that can be compared: no id, none of the headers of the wire, timestamps in whole µs, bytes as hex. */
export function comparable(event: NewEvent | Event): unknown {
  const { type, foreignId, timestamp, metadata, headers = {} } = event
  return {
    type,
    foreignId,
    micros: timestamp === undefined ? undefined : Math.round(timestamp * 1000),
    metadata: metadata ? Buffer.from(metadata).toString('hex') : null,
    headers: headerPairs(headers)
      .filter(([name]) => !reserved.has(name))
      .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)), // stable: values keep their order
  }
}
