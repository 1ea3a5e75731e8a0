import { codeOf, ReflexError } from '../core/errors.ts'
import { openStream } from '../core/stream.ts'
import type { BridgeSpec } from './bridge.ts'
import { formatCheckpoint, parseCheckpoint, type Skip } from './checkpoint.ts'
import { addToLog, readLog } from './route-log.ts'

/** What `skipEvent` did. */
export interface Skipped {
  readonly skip: Skip
  /** It had been said before, by whoever `skip` names. */
  readonly repeated: boolean
}

/** Options of `skipEvent`. */
export interface SkipEventOptions {
  /** As of the bridge: a new route does not start at its first event. Default: false. */
  readonly fromHead?: boolean | undefined
  readonly signal?: AbortSignal | undefined
}

/** Of who and why, in characters. */
const LONGEST = 200

/**
 * Says of the very event that a route stands at that it is not to be sent. That is recorded in the route's checkpoint: a bridge at work
 * takes it up with its next attempt, and goes past the event. The record stays for good: the next one moves it into the route's log,
 * pages under `<route>:log:<n>` in the same store. Safe to repeat.
 *
 * Throws `SKIP_REFUSED` if the route stands at another event, or at its head; `ROUTE_MOVED` if it went on meanwhile.
 */
export async function skipEvent(
  { name, source, checkpoints }: Pick<BridgeSpec, 'name' | 'source' | 'checkpoints'>,
  skip: Skip,
  { fromHead = false, signal }: SkipEventOptions = {},
): Promise<Skipped> {
  const { eventId } = skip
  const stored = await checkpoints.get(name, { signal })
  const checkpoint = parseCheckpoint(name, stored) ?? { cursor: '', mark: '', start: '' }
  const { cursor, start, skips = [] } = checkpoint
  const place = { name, checkpoints, checkpoint }
  const logged = (await readLog(place, { signal })).flatMap(({ skip }) => skip ?? [])
  const known = [...skips, ...logged].find((each) => each.eventId === eventId)
  if (known !== undefined) return { skip: known, repeated: true }

  const refuse = (why: string): never => {
    throw new ReflexError('SKIP_REFUSED', `route ${name}: event ${eventId} is not skipped: ${why}`, {
      retriable: false,
    })
  }
  if (fromHead && stored === '') refuse('the route has not started yet, and starts at the head')
  const at = cursor === '' ? start : cursor
  const next = await firstAfter(source, at, signal)
  if (next === undefined) refuse(`the route stands at ${at === '' ? 'the start' : at}, and no event follows`)
  if (next !== eventId) {
    const isPast = next !== undefined && (source.compare?.(eventId, next) ?? 1) < 0
    refuse(
      `the route stands at event ${next}${isPast ? ', and has gone past that one' : ''}; only what it stands at can be skipped`,
    )
  }
  const said: Skip = { ...skip, by: shortened(skip.by), why: shortened(skip.why) }
  try {
    const older = skips.map((skip) => ({ skip }))
    const log = older.length === 0 ? checkpoint.log : await addToLog(place, older, { signal })
    await checkpoints.set(name, formatCheckpoint({ ...checkpoint, skips: [said], log }), stored)
  } catch (error) {
    if (codeOf(error) !== 'CURSOR_CONFLICT') throw error
    throw new ReflexError(
      'ROUTE_MOVED',
      `route ${name}: event ${eventId} is not skipped: the route has gone on meanwhile; look where it stands now`,
      { cause: error },
    )
  }
  return { skip: said, repeated: false }
}

/** The id of the first event after a cursor; undefined if there is none up to the head. */
async function firstAfter(
  source: BridgeSpec['source'],
  cursor: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  await using stream = await openStream(source.stream, cursor, { signal, toHead: true })
  for await (const { events } of stream) if (events[0] !== undefined) return events[0].id
  return undefined
}

function shortened(text: string): string {
  return [...text.toWellFormed()].slice(0, LONGEST).join('')
}
