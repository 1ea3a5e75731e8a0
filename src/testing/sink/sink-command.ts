import fc from 'fast-check'
import { arbitraryBody, type EventBody } from '../event-body.ts'

/**
 * A step of a bridge that forwards a source into the destination. Writers are counted from the newest, which is 0; if that one has
 * failed or is closed, or there is none, another one is opened first, as a supervisor does. Where the source has fewer events left
 * than a step needs, it gets more.
 */
export type SinkCommand =
  /** Appends the next events, and saves the checkpoint or does not come to it. */
  | { readonly do: 'append'; readonly writer: number; readonly count: number; readonly save: boolean }
  /** Appends an empty batch that moves the cursor over what is no event, or stays if an event is next. */
  | { readonly do: 'appendEmpty'; readonly writer: number; readonly save: boolean }
  /** Appends one event of any kind. */
  | { readonly do: 'appendBody'; readonly body: EventBody }
  /** Appends events that have come over another bridge. */
  | { readonly do: 'appendForwarded'; readonly count: number }
  /** Appends a batch with an event that cannot be encoded, or that is too large, after and before so many good ones. */
  | { readonly do: 'appendBroken' | 'appendOversize'; readonly before: number; readonly after: number }
  /** A crash: another process opens with the checkpoint that was saved last, after a restoration with an older one, or with none. */
  | { readonly do: 'open'; readonly saved: 'last' | 'older' | 'none' }
  /** Opens with a signal that aborts after so many turns; 0: before. */
  | { readonly do: 'openAborted'; readonly turns: number }
  | { readonly do: 'close'; readonly writer: number }
  /** The newest writer appends so many turns after another one has begun to open, which then appends. */
  | { readonly do: 'takeOver'; readonly count: number; readonly turns: number }
  /** Two processes open and append at the same time. */
  | { readonly do: 'race'; readonly count: number }
  /** The last events are lost; `open`: while writers are. */
  | { readonly do: 'loseTail'; readonly count: number; readonly while: 'closed' | 'open' }
  | { readonly do: 'refuse'; readonly count: number }
  | { readonly do: 'freeze'; readonly during: 'append' | 'open' | 'aborted open' }
  | { readonly do: 'restart' | 'cut'; readonly when: 'before an append' | 'during an append' }
  | { readonly do: 'wipe' | 'loseReplies' | 'foreign' }

const count = fc.integer({ min: 1, max: 4 })
const save = fc.constantFrom(true, false)
const few = fc.nat({ max: 2 })
const when = fc.constantFrom<'before an append' | 'during an append'>('before an append', 'during an append')

/** Names that come twice are rare among random ones. */
const body = fc.tuple(arbitraryBody, fc.constantFrom([], ['', ' again'], ['again'])).map(([body, again]): EventBody => {
  const [first] = body.headers
  return first === undefined
    ? body
    : { ...body, headers: [...body.headers, ...again.map((value) => [first[0], value] as const)] }
})

type Kind =
  | 'append'
  | 'appendMany'
  | 'appendOlder'
  | 'appendEmpty'
  | 'appendEmptyOlder'
  | 'appendBody'
  | 'appendForwarded'
  | 'appendBroken'
  | 'appendOversize'
  | 'open'
  | 'openAborted'
  | 'close'
  | 'takeOver'
  | 'race'
  | 'loseTail'
  | 'loseTailOpen'
  | 'wipe'
  | 'refuse'
  | 'freeze'
  | 'restart'
  | 'cut'
  | 'loseReplies'
  | 'foreign'

/** Each kind of command. */
export const sinkCommands: Readonly<Record<Kind, fc.Arbitrary<SinkCommand>>> = {
  append: fc.record({ do: fc.constant('append'), writer: fc.constant(0), count, save }),
  appendMany: fc.record({
    do: fc.constant('append'),
    writer: fc.constant(0),
    count: fc.integer({ min: 120, max: 600 }),
    save,
  }),
  appendOlder: fc.record({ do: fc.constant('append'), writer: fc.integer({ min: 1, max: 2 }), count, save }),
  appendEmpty: fc.record({ do: fc.constant('appendEmpty'), writer: fc.constant(0), save }),
  appendEmptyOlder: fc.record({ do: fc.constant('appendEmpty'), writer: fc.integer({ min: 1, max: 2 }), save }),
  appendBody: fc.record({ do: fc.constant('appendBody'), body }),
  appendForwarded: fc.record({ do: fc.constant('appendForwarded'), count: fc.integer({ min: 1, max: 2 }) }),
  appendBroken: fc.record({ do: fc.constant('appendBroken'), before: few, after: few }),
  appendOversize: fc.record({ do: fc.constant('appendOversize'), before: few, after: few }),
  open: fc.record({ do: fc.constant('open'), saved: fc.constantFrom('last', 'last', 'older', 'none') }),
  openAborted: fc.record({ do: fc.constant('openAborted'), turns: fc.constantFrom(0, 0, 1, 2, 5, 20) }),
  close: fc.record({ do: fc.constant('close'), writer: few }),
  takeOver: fc.record({ do: fc.constant('takeOver'), count, turns: fc.nat({ max: 5 }) }),
  race: fc.record({ do: fc.constant('race'), count }),
  loseTail: fc.record({
    do: fc.constant('loseTail'),
    count: fc.integer({ min: 1, max: 5 }),
    while: fc.constant('closed'),
  }),
  loseTailOpen: fc.record({
    do: fc.constant('loseTail'),
    count: fc.integer({ min: 1, max: 5 }),
    while: fc.constant('open'),
  }),
  wipe: fc.record({ do: fc.constant('wipe') }),
  refuse: fc.record({ do: fc.constant('refuse'), count }),
  freeze: fc.record({ do: fc.constant('freeze'), during: fc.constantFrom('append', 'append', 'open', 'aborted open') }),
  restart: fc.record({ do: fc.constant('restart'), when }),
  cut: fc.record({ do: fc.constant('cut'), when }),
  loseReplies: fc.record({ do: fc.constant('loseReplies') }),
  foreign: fc.record({ do: fc.constant('foreign') }),
}
