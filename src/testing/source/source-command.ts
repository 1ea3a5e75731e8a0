import fc from 'fast-check'
import { arbitraryBody, type EventBody } from '../event-body.ts'

/**
 * A step against a log. Numbers that name something count from 0 over what is there at that moment, and start again from the front:
 * so every schedule makes sense, and still does when it is shrunk.
 */
export type SourceCommand =
  /** Appends so many small events. */
  | { readonly do: 'append'; readonly count: number; readonly type: number }
  /** Appends one event of any kind. */
  | { readonly do: 'appendBody'; readonly body: EventBody }
  /** Opens a stream after a cursor that was seen: of an event, a batch, a run; 0 is `""`, 1 the newest, 2 the oldest. */
  | {
      readonly do: 'open'
      readonly cursor: number
      readonly toHead?: boolean | undefined
      readonly fromHead?: boolean | undefined
      readonly types?: readonly number[] | undefined
    }
  /** Reads one batch, if anything is to come. */
  | { readonly do: 'read'; readonly reader: number }
  /** Reads all that is to come. */
  | { readonly do: 'drain'; readonly reader: number }
  /** Reads on at the head, while so many events are appended: once the read waits, or so many turns after it was begun. */
  | { readonly do: 'await'; readonly reader: number; readonly count: number; readonly turns?: number | undefined }
  /** Appends so many events of a type that a stream at its head does not ask for: its position has to move over them. */
  | { readonly do: 'passOver'; readonly reader: number; readonly count: number }
  /** Aborts the signal of a stream that waits at the head, or that was just opened. */
  | { readonly do: 'abort'; readonly reader: number }
  /** Closes a stream, three times over, at work or not. */
  | { readonly do: 'close'; readonly reader: number }
  /** Opens a stream with a signal that aborts after so many turns; 0: before. */
  | { readonly do: 'openAborted'; readonly turns: number }
  /** Opens a stream with what is no cursor of this log. */
  | { readonly do: 'openMalformed'; readonly which: number }
  /** Opens a stream with options that cannot be honoured. */
  | { readonly do: 'openWrongly'; readonly with: 'cursor and fromHead' | 'types that are no integers' }
  /** Runs a consumer to the head, until it fails at an event, or until it is aborted after one. */
  | { readonly do: 'run'; readonly until: 'head' | 'failure' | 'abort'; readonly after: number }
  /** Opens a stream, gets it into a state, and closes it: as many connections are open as before. */
  | { readonly do: 'openAndClose'; readonly state: CloseState }
  | { readonly do: 'ask'; readonly what: 'head' | 'backlog' | 'compare' | 'at'; readonly cursor: number }
  | { readonly do: 'trim' | 'remove'; readonly event: number }
  /** Loses what follows an event; then so many others are appended, but fewer than were lost. */
  | { readonly do: 'rewind'; readonly event: number; readonly append?: number | undefined }
  | { readonly do: 'recreate' | 'restart' | 'freeze' | 'cut' | 'corrupt' }

/** What a stream is doing when it is closed; `left`: its loop was left, which closes it. */
export type CloseState = 'unread' | 'read' | 'waiting' | 'ended' | 'left'

const small = fc.nat({ max: 7 })
/** One of several, none at all, and some that only all bits tell apart. */
const types = fc.oneof(
  { weight: 6, arbitrary: fc.subarray([1, 2, 3], { minLength: 1 }) },
  { weight: 1, arbitrary: fc.constantFrom<readonly number[]>([], [257], [-1, 2]) },
)

type CommandName =
  | 'append'
  | 'appendTyped'
  | 'appendMany'
  | 'appendBody'
  | 'open'
  | 'openFirst'
  | 'openToHead'
  | 'openFromHead'
  | 'openTyped'
  | 'read'
  | 'drain'
  | 'await'
  | 'passOver'
  | 'abort'
  | 'close'
  | 'openAborted'
  | 'openMalformed'
  | 'openWrongly'
  | 'run'
  | 'openAndClose'
  | 'askHead'
  | 'askBacklog'
  | 'askCompare'
  | 'askAt'
  | 'trim'
  | 'remove'
  | 'rewind'
  | 'recreate'
  | 'restart'
  | 'freeze'
  | 'cut'
  | 'corrupt'

const just = <const T>(value: T): fc.Arbitrary<T> => fc.constant(value)

/** Each kind of command. */
export const sourceCommands: Readonly<Record<CommandName, fc.Arbitrary<SourceCommand>>> = {
  append: fc.record({ do: just('append'), count: fc.integer({ min: 1, max: 5 }), type: just(1) }),
  appendTyped: fc.record({
    do: just('append'),
    count: fc.integer({ min: 1, max: 3 }),
    type: fc.constantFrom(1, 2, 3, 257, -1),
  }),
  appendMany: fc.record({ do: just('append'), count: fc.integer({ min: 20, max: 60 }), type: just(1) }),
  appendBody: fc.record({ do: just('appendBody'), body: arbitraryBody }),
  open: fc.record({ do: just('open'), cursor: small }),
  openFirst: fc.record({ do: just('open'), cursor: just(0) }),
  openToHead: fc.record({ do: just('open'), cursor: small, toHead: just(true) }),
  openFromHead: fc.record({
    do: just('open'),
    cursor: just(0),
    fromHead: just(true),
    toHead: fc.constantFrom(undefined, undefined, true),
    types: fc.constantFrom(undefined, undefined, undefined, [1], [2]),
  }),
  openTyped: fc.record({
    do: just('open'),
    cursor: small,
    types,
    toHead: fc.constantFrom(undefined, true),
  }),
  read: fc.record({ do: just('read'), reader: small }),
  drain: fc.record({ do: just('drain'), reader: small }),
  await: fc.record({
    do: just('await'),
    reader: small,
    count: fc.integer({ min: 1, max: 3 }),
    turns: fc.constantFrom(undefined, undefined, 0, 1, 2, 3, 5, 8),
  }),
  passOver: fc.record({ do: just('passOver'), reader: small, count: fc.integer({ min: 1, max: 3 }) }),
  abort: fc.record({ do: just('abort'), reader: small }),
  close: fc.record({ do: just('close'), reader: small }),
  openAborted: fc.record({ do: just('openAborted'), turns: fc.constantFrom(0, 1, 2, 5, 20) }),
  openMalformed: fc.record({ do: just('openMalformed'), which: fc.nat({ max: 20 }) }),
  openWrongly: fc.record({
    do: just('openWrongly'),
    with: fc.constantFrom('cursor and fromHead', 'types that are no integers'),
  }),
  run: fc.record({
    do: just('run'),
    until: fc.constantFrom('head', 'failure', 'failure', 'abort'),
    after: fc.nat({ max: 5 }),
  }),
  openAndClose: fc.record({
    do: just('openAndClose'),
    state: fc.constantFrom('unread', 'read', 'waiting', 'ended', 'left'),
  }),
  askHead: fc.record({ do: just('ask'), what: just('head'), cursor: small }),
  askBacklog: fc.record({ do: just('ask'), what: just('backlog'), cursor: small }),
  askCompare: fc.record({ do: just('ask'), what: just('compare'), cursor: small }),
  askAt: fc.record({ do: just('ask'), what: just('at'), cursor: small }),
  trim: fc.record({ do: just('trim'), event: small }),
  remove: fc.record({ do: just('remove'), event: small }),
  rewind: fc.record({ do: just('rewind'), event: small, append: fc.constantFrom(undefined, 1, 2) }),
  recreate: fc.record({ do: just('recreate') }),
  restart: fc.record({ do: just('restart') }),
  freeze: fc.record({ do: just('freeze') }),
  cut: fc.record({ do: just('cut') }),
  corrupt: fc.record({ do: just('corrupt') }),
}
