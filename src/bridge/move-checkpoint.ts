import { savedCursor } from '../core/cursor.ts'
import { codeOf, OptionError, ReflexError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import { openStream } from '../core/stream.ts'
import type { BridgeSpec } from './bridge.ts'
import { formatCheckpoint, parseCheckpoint } from './checkpoint.ts'
import { hasHole } from './refuse-hole.ts'
import { addToLog, type Move } from './route-log.ts'

/** Options of `moveCheckpoint`. */
export interface MoveCheckpointOptions {
  /** Who moves it, and when, for the route's log. Default: it is not noted there. */
  readonly said?: Pick<Move, 'by' | 'at'> | undefined
  readonly signal?: AbortSignal | undefined
}

/** From where to where a route was moved. */
export interface MovedCheckpoint {
  /** `""`: it had no checkpoint, or stood at the earliest event. */
  readonly from: Cursor
  readonly to: Cursor
  /**
   * The destination has lost what it had after this position, and the source no longer has all of that: it is given up, up to `to`.
   * Undefined where nothing is lost.
   */
  readonly lostAfter?: Cursor
}

/**
 * Moves a route forward to a position of its source, which it then goes on after: the events in between are never forwarded, and
 * the route counts as begun there. Takes the destination over, which fences a writer that is at work, and tells it the position as an
 * append of no events does. Where the route stands there already, nothing is done. Changes nothing, and throws, if the route stands
 * further on (`REWIND_REFUSED`), if the destination has lost its tail and can be refilled (`TAIL_LOST`), if the source cannot be read from there, and if
 * another process saves a checkpoint meanwhile.
 */
export async function moveCheckpoint(
  { name, source, sink, checkpoints }: Pick<BridgeSpec, 'name' | 'source' | 'sink' | 'checkpoints'>,
  to: Cursor,
  { said, signal }: MoveCheckpointOptions = {},
): Promise<MovedCheckpoint> {
  const { compare } = source
  if (compare === undefined)
    throw new OptionError(
      `${source.name}: a route can only be moved where its source has compare, which orders its cursors`,
    )
  const stored = await checkpoints.get(name, { signal })
  const found = parseCheckpoint(name, stored)
  const from = found?.cursor ?? ''
  const proof = await openStream(source.stream, to, { signal, toHead: true })
  const position = to.includes('@') ? to : savedCursor(to, proof.incarnation)
  await proof[Symbol.asyncDispose]()
  const rewinds = (stands: Cursor): boolean => to === '' || (stands !== '' && compare(position, stands) < 0)
  const saved = found === undefined || found.mark === '' ? undefined : found
  if (to === '' || (saved === undefined && rewinds(from))) throw rewind(name, sink, { from, to })
  await using writer = await sink.open({ route: name, source: source.name, saved, signal })
  // A route that has come to an event, and stands at the start, was set back when its destination had lost everything.
  const isSetBack = saved?.first !== undefined && saved.cursor === ''
  const isLost = saved !== undefined && (isSetBack || writer.resumeFrom !== saved.cursor)
  const stands = isLost ? writer.resumeFrom || saved.start : from
  if (isLost && (await canRefill(source, { after: stands, first: saved.first, signal }))) {
    const how = `goes on after ${writer.resumeFrom || 'the start'}${isSetBack ? '' : `, not ${saved.cursor}`}`
    throw new ReflexError(
      'TAIL_LOST',
      `the route ${name} is not moved: ${writer.repair ?? `${sink.name} ${how}`}. Run it until it has caught up, then move it.`,
      { retriable: false },
    )
  }
  if (rewinds(stands)) throw rewind(name, sink, { from: stands, to })
  if (saved !== undefined && !isLost && from !== '' && compare(position, from) === 0) return { from, to: from } // what lies before it was forwarded
  signal?.throwIfAborted()
  const mark = await writer.append([], position)
  const entries = said === undefined ? [] : [{ move: { from, to: position, ...said } }]
  const log = await addToLog({ name, checkpoints, checkpoint: found ?? {} }, entries, { signal })
  await checkpoints.set(
    name,
    formatCheckpoint({ cursor: position, mark, start: position, skips: found?.skips, log }),
    stored,
  )
  return { from, to: position, ...(isLost ? { lostAfter: stands } : {}) }
}

/** Whether the source has all that follows a position; after `""`, from the first event of the route on. */
async function canRefill(
  source: BridgeSpec['source'],
  {
    after,
    first,
    signal,
  }: { readonly after: Cursor; readonly first: string | undefined; readonly signal: AbortSignal | undefined },
): Promise<boolean> {
  try {
    await using stream = await openStream(source.stream, after, { signal, toHead: true })
    if (after !== '') return true
    for await (const { events } of stream) if (events[0]) return !hasHole(source, { first, earliest: events[0].id })
    return first === undefined // it had an event once
  } catch (error) {
    if (codeOf(error) !== 'CURSOR_TRIMMED') throw error
    return false
  }
}

function rewind(
  name: string,
  sink: BridgeSpec['sink'],
  { from, to }: Pick<MovedCheckpoint, 'from' | 'to'>,
): ReflexError {
  return new ReflexError(
    'REWIND_REFUSED',
    `the route ${name} stands at ${from || 'the start'}, and is not moved back to ${to || 'the start'}: what follows would stand in ${sink.name} twice, and out of order. Fill a new destination instead (reflex-bridge replay CONFIG ${name} --into NEW --from ${to || "''"}).`,
    { retriable: false },
  )
}
