import { bridge } from '../bridge/bridge.ts'
import { formatCheckpoint, parseCheckpoint } from '../bridge/checkpoint.ts'
import { moveCheckpoint } from '../bridge/move-checkpoint.ts'
import { sourceUntil } from '../bridge/source-until.ts'
import type { Transform } from '../bridge/transform.ts'
import { disposeStack } from '../core/dispose-stack.ts'
import { OptionError, ReflexError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { Observer } from '../core/observer.ts'
import { oldestUnread } from '../core/oldest-unread.ts'
import type { Sink } from '../core/sink.ts'
import { isMissing } from './check-route.ts'
import { subjectsOverlap } from './config/clashes.ts'
import type { RouteConfig } from './config/parse-config.ts'
import type { Endpoint } from './config/parse-endpoint.ts'
import type { Opened } from './config/scheme.ts'
import { positionOf } from './position-of.ts'
import { setAside } from './set-aside.ts'

/** Options of `replayRoute`. */
export interface ReplayRouteOptions {
  /** The new destination, beside that of the route: another topic, key, subject or table; for NATS also `stream/subject`. */
  readonly into: string
  /** All routes of the configuration: their destinations are not touched. */
  readonly routes: readonly RouteConfig[]
  /** After this cursor, or time. Default: from the earliest event that the source has. */
  readonly from?: string | undefined
  /** Up to this cursor, or time, or `head`. Default: `head`. */
  readonly to?: string | undefined
  readonly signal: AbortSignal
  readonly observer?: Observer | undefined
}

/** What was replayed. */
export interface Replayed {
  /** The destination, without a password. */
  readonly into: string
  /** Under this name the position is kept, beside that of the route. */
  readonly checkpoint: string
  readonly cursor: Cursor
  /** False if it was stopped before its end: it goes on where it was when it is started again. */
  readonly done: boolean
}

/**
 * Forwards a range of a route's source into a new destination, as the route does, and leaves the route alone. What the route has gone
 * past on purpose, dead letters and skipped events, is left out here as well. May be stopped and
 * started again. Throws `REPLAY_INTO_OTHERS` if the destination has entries, and this replay has not begun yet.
 */
export async function replayRoute(route: RouteConfig, options: ReplayRouteOptions): Promise<Replayed> {
  const { into, routes, signal, observer } = options
  const target = newDestination(route, into, routes)
  const name = `${route.name}.replay.${into}`
  await using opened = disposeStack()
  const context = { createTables: false, readOnly: false }
  const source = opened.use(await route.source.open(context)).part
  const checkpoints = opened.use(await route.checkpoints.open(context)).part
  const sink = opened.use(await target.open({ ...context, createTables: true }))

  const { from = '', to = 'head' } = options
  const begun = parseCheckpoint(name, await checkpoints.get(name, { signal }))
  const start = from === '' ? '' : await positionOf(source, from, signal)
  const end = to === 'head' ? undefined : await positionOf(source, to, signal)
  if (start !== '' && end !== undefined && (end === '' || (source.compare?.(start, end) ?? 0) > 0))
    throw new OptionError(
      `${source.name}: the range must not end before it begins: from ${start}, to ${end || 'the start'}`,
    )
  const spec = { name, source, sink: sink.part, checkpoints }
  if (begun === undefined) {
    await refuseOthers(target, sink, signal)
    await sink.createTables?.()
    if (start !== '') await moveCheckpoint(spec, start, { signal })
    // What is found there from now on is of this replay, also if it is killed before its first checkpoint.
    else await checkpoints.set(name, formatCheckpoint({ cursor: '', mark: '', start: '' }), '')
  } else if (options.from !== undefined && position(begun.start) !== position(start)) {
    throw new OptionError(
      `the replay into ${target.name} has begun after ${begun.start || 'the start'} and is at ${begun.cursor || 'the start'}: leave --from out to go on, or give another destination`,
    )
  }
  const upTo = end === undefined ? source : sourceUntil(source, end)
  const checkpoint = parseCheckpoint(route.name, await checkpoints.get(route.name, { signal }))
  const aside = await setAside(route, { checkpoint, checkpoints, signal })
  const transform: Transform = (event) => {
    if (aside.has(event.id)) return undefined // it would stop the replay as it has stopped the route
    return route.transform === undefined ? event : route.transform(event)
  }
  const { reason, cursor } = await bridge({ ...spec, source: upTo, transform }, { toHead: true, signal, observer })
  return { into: target.name, checkpoint: name, cursor, done: reason === 'head' }
}

function position(cursor: Cursor): Cursor {
  return cursor.replace(/@.*$/, '')
}

/** The destination of the route with another name. Throws an `OptionError` if it is none, or that of a route, or in the way of one. */
function newDestination({ name, sink }: RouteConfig, into: string, routes: readonly RouteConfig[]): Endpoint<Sink> {
  const { value, problems } = sink.elsewhere(into)
  if (value === undefined)
    throw new OptionError(
      `--into ${into}: ${problems.map(({ path, message }) => `${path.at(-1)}: ${message}`).join('; ')}`,
    )
  const others = [...routes.map((each) => each.sink.name), ...routes.map((each) => each.source.name)]
  if (others.includes(value.name))
    throw new OptionError(
      `--into ${into}: expected a destination that no route has, found ${value.name}: a replay of ${name} into it would put everything there twice`,
    )
  for (const other of routes) {
    const why = subjectsOverlap(other.sink, value)
    if (why === undefined) continue
    throw new OptionError(
      `--into ${into}: expected a subject that shares no prefix with ${other.sink.name}, that of the route ${other.name}: ${why}`,
    )
  }
  return value
}

/** Throws if there are entries already. */
async function refuseOthers(target: Endpoint<Sink>, sink: Opened<Sink>, signal: AbortSignal): Promise<void> {
  if (sink.readBack === undefined)
    throw new OptionError(`${target.name}: this kind of destination cannot be read back, so it is not known to be new`)
  try {
    for (const log of await sink.readBack({ signal })) {
      if ((await oldestUnread(log, '', { signal })) === undefined) continue
      throw new ReflexError(
        'REPLAY_INTO_OTHERS',
        `${target.name} has entries already, and they are not of this replay: give the name of a destination that is not there yet`,
        { retriable: false },
      )
    }
  } catch (error) {
    if (!isMissing(error)) throw error // what is not there is made
  }
}
