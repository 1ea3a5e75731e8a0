import fc from 'fast-check'

/** What a `set` expects to be there. */
export type Expectation =
  | 'what is there'
  | '""'
  | 'what was there'
  | 'what is there, and a space'
  | 'a zero, and what is there'

/** A step against a cursor store. A client is counted from 0, and again from the front where there is one only. */
export type CursorStoreCommand =
  | { readonly do: 'get'; readonly client: number; readonly name: string }
  | {
      readonly do: 'set'
      readonly client: number
      readonly name: string
      readonly cursor: string
      readonly over: Expectation
    }
  | { readonly do: 'setSame'; readonly client: number; readonly name: string; readonly over: Expectation }
  /** An operator's. */
  | { readonly do: 'reset'; readonly client: number; readonly name: string; readonly cursor: string }
  | { readonly do: 'list'; readonly client: number }
  /** So many sets at once, by all clients in turn, each of another cursor, all over what is there. */
  | { readonly do: 'race'; readonly name: string; readonly count: number }
  /** A get whose signal has aborted, or aborts while it is under way. */
  | { readonly do: 'getAborted'; readonly client: number; readonly name: string; readonly when: 'before' | 'during' }
  | { readonly do: 'restart' | 'freeze' | 'cut' }

/** Names that are as good as any, and that stores mix up: those of a group with one another. */
const groups: readonly (readonly [string, ...string[]])[] = [
  ['a', 'A', 'a ', ' a', 'a\n'],
  ['á', 'a\u0301', 'a'],
  ['ss', 'ß', 'SS'],
  ['🪵', '🪶', 'ключ', '�'],
  ['a_b', 'a%b', 'axb', 'a*b', 'a?b'],
  ["a'b", 'a"b', 'a\\b', 'a\\\\b', 'ab'],
  ['a/b', 'a:b', 'a.b', 'a>b', 'a b'],
  ['a%20b', 'a b', 'a+b', 'a%2520b'],
  ['{a}', 'a', '{a', '$a', '__proto__'],
  ['a\nb', 'a\tb', 'ab', 'a'],
  ['x'.repeat(200), `${'x'.repeat(199)}y`, 'x'.repeat(199)],
]
const cursors = [
  '1700000000000-0@abc',
  '{"cursor":"7@x","mark":"8"}',
  'A',
  'a',
  'a ',
  ' a',
  'a\n',
  'á',
  'a\u0301',
  'ключ 🪵',
  `'"\\%_\n\t`,
  '00',
  '0',
  '-1',
  '1e3',
  'null',
  '!',
  '9'.repeat(1000),
  JSON.stringify({ cursor: 'x'.repeat(480), mark: '"'.repeat(240) }),
]

const client = fc.nat({ max: 1 })
const plainName = fc.constantFrom('p', 'q')
const plainCursor = fc.constantFrom('1', '2', '3', '')
const over = fc.constantFrom<Expectation>(
  'what is there',
  '""',
  'what was there',
  'what is there, and a space',
  'a zero, and what is there',
)
const set = (
  name: fc.Arbitrary<string>,
  cursor: fc.Arbitrary<string>,
  over: fc.Arbitrary<Expectation>,
): fc.Arbitrary<CursorStoreCommand> => fc.record({ do: fc.constant('set'), client, name, cursor, over })
const right = fc.constant<Expectation>('what is there')

type Kind =
  | 'get'
  | 'set'
  | 'setOver'
  | 'setSame'
  | 'setAwkward'
  | 'setAwkwardOver'
  | 'reset'
  | 'resetAwkward'
  | 'list'
  | 'race'
  | 'getAborted'
  | 'restart'
  | 'freeze'
  | 'cut'

/** Each kind of command. */
export const cursorStoreCommands: Readonly<Record<Kind, fc.Arbitrary<CursorStoreCommand>>> = {
  get: fc.record({ do: fc.constant('get'), client, name: plainName }),
  set: set(plainName, plainCursor, right),
  setOver: set(plainName, plainCursor, over),
  setSame: fc.record({ do: fc.constant('setSame'), client, name: plainName, over }),
  setAwkward: set(plainName, fc.constantFrom(...cursors), right),
  setAwkwardOver: set(plainName, fc.constantFrom(...cursors), over),
  reset: fc.record({ do: fc.constant('reset'), client, name: plainName, cursor: plainCursor }),
  resetAwkward: fc.record({
    do: fc.constant('reset'),
    client,
    name: plainName,
    cursor: fc.constantFrom(...cursors),
  }),
  list: fc.record({ do: fc.constant('list'), client }),
  race: fc.record({ do: fc.constant('race'), name: plainName, count: fc.integer({ min: 2, max: 24 }) }),
  getAborted: fc.record({
    do: fc.constant('getAborted'),
    client,
    name: plainName,
    when: fc.constantFrom('before', 'during'),
  }),
  restart: fc.record({ do: fc.constant('restart') }),
  freeze: fc.record({ do: fc.constant('freeze') }),
  cut: fc.record({ do: fc.constant('cut') }),
}

/** Schedules over the names of one group each. */
export const awkwardNames: fc.Arbitrary<readonly CursorStoreCommand[]> = fc.oneof(
  ...groups.map((group) => {
    const name = fc.constantFrom(...group)
    return fc.array(
      fc.oneof(
        { weight: 5, arbitrary: set(name, plainCursor, right) },
        fc.record({ do: fc.constant('reset' as const), client, name, cursor: plainCursor }),
        cursorStoreCommands.list,
      ),
      { minLength: 1, maxLength: 8 },
    )
  }),
)
