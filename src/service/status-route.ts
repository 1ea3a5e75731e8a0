import { parseCheckpoint } from '../bridge/checkpoint.ts'
import { untilAborted } from '../core/abort.ts'
import { codeOf } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import type { LeaseHolder } from '../core/lease.ts'
import { oldestUnread } from '../core/oldest-unread.ts'
import type { Backlog, Blocked, Source } from '../core/stream.ts'
import { isMissing } from './check-route.ts'
import type { RouteConfig } from './config/parse-config.ts'
import type { Endpoint } from './config/parse-endpoint.ts'
import type { Opened } from './config/scheme.ts'
import type { ControlRecord } from './control/control-record.ts'
import { openControl } from './control/open-control.ts'

/** A route as everybody sees it, whether a process runs it or not. What could not be found out is undefined, and among the problems. */
export interface StoredStatus {
  /** The position up to which the route has forwarded; undefined before it has begun. */
  readonly checkpoint: Cursor | undefined
  readonly head: Cursor | undefined
  readonly backlog: Backlog | undefined
  /** The timestamp, epoch in ms, of the oldest event that is not forwarded; undefined if there is none. */
  readonly oldestUnreadAt: number | undefined
  /** What keeps the source from telling. */
  readonly blocked: Blocked | undefined
  /** What an operator wants; undefined if nobody has wanted anything. */
  readonly wanted: ControlRecord | undefined
  /** The process that has the route; undefined if none has, or without standby. */
  readonly owner: LeaseHolder | undefined
  /** What an operator should know of the destination. */
  readonly warnings: readonly string[]
  readonly problems: readonly StatusProblem[]
}

/** What could not be asked, and why. */
export interface StatusProblem {
  readonly part: 'source' | 'sink' | 'checkpoints' | 'control'
  readonly error: unknown
}

/** No part is waited for longer. */
const WITHIN_MS = 5000
/** A source that cannot go on is not waited for any longer than it takes to know who is in the way. */
const BLOCKED_AFTER_MS = 2000

/** Options of `statusRoute`. */
export interface StatusRouteOptions {
  /** Of a route that has not begun, what is missing is no problem: it will be created. Default: false. */
  readonly createTables?: boolean | undefined
  readonly signal: AbortSignal
}

/** Asks each part of a route where it stands. Changes nothing; never rejects, but with the signal's reason. */
export async function statusRoute(
  route: RouteConfig,
  { createTables = false, signal }: StatusRouteOptions,
): Promise<StoredStatus> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(WITHIN_MS)])
  const context = { createTables: false, readOnly: true }
  const problems: StatusProblem[] = []
  const missing: StatusProblem[] = []
  async function ask<T, Answer>(
    part: StatusProblem['part'],
    open: () => Promise<T & AsyncDisposable>,
    question: (opened: T) => Promise<Answer>,
  ): Promise<Answer | undefined> {
    let opened: (T & AsyncDisposable) | undefined
    try {
      opened = await open()
      return await untilAborted(question(opened), limit)
    } catch (error) {
      const list = createTables && isMissing(error) ? missing : problems
      list.push({ part, error })
      return undefined
    } finally {
      await closeQuietly(opened)
    }
  }
  const of =
    <T>(endpoint: Endpoint<T>) =>
    (): Promise<Opened<T>> =>
      endpoint.open(context)

  const checking = ask('sink', of(route.sink), async ({ check }) => (await check?.()) ?? [])
  const controlling = ask(
    'control',
    () => openControl(route, context),
    async (control) => {
      const { leases, leaseName } = control
      const options = { signal: limit }
      const wanted = await control.read(options)
      const owner = await leases?.get(leaseName, options).catch(nobody)
      return { wanted, owner }
    },
  )
  const saved = await ask('checkpoints', of(route.checkpoints), async ({ part }) =>
    parseCheckpoint(route.name, await part.get(route.name, { signal: limit })),
  )
  const unread = await ask('source', of(route.source), async ({ part: source }): Promise<SourceStatus> => {
    // Without a checkpoint that can be read, what follows it is not known either.
    if (problems.some(({ part }) => part === 'checkpoints'))
      return { ...unknown, head: await source.head?.({ signal: limit }) }
    const after = saved?.cursor ?? ''
    const stuck = new AbortController()
    let blocked: Blocked | undefined
    const look = setTimeout(() => {
      blocked = source.blocked?.()
      if (blocked !== undefined) stuck.abort('blocked') // a reason without a stack: nobody sees it
    }, BLOCKED_AFTER_MS)
    const options = { signal: AbortSignal.any([limit, stuck.signal]) }
    const unlessBlocked = async <T>(answer: Promise<T> | undefined): Promise<T | undefined> => {
      try {
        return await answer
      } catch (error) {
        if (stuck.signal.aborted) return undefined
        throw error
      }
    }
    try {
      const [oldest, head, backlog] = await Promise.all([
        unlessBlocked(oldestUnread(source, after, options)),
        unlessSlow(source, options.signal),
        unlessBlocked(source.backlog?.(after, options)),
      ])
      return { oldestUnreadAt: oldest?.timestamp, blocked, head, backlog }
    } finally {
      clearTimeout(look)
    }
  })
  const [findings = [], control] = await Promise.all([checking, controlling])
  signal.throwIfAborted()
  const checkpoint = saved === undefined || saved.mark === '' ? undefined : saved.cursor
  if (checkpoint !== undefined) problems.push(...missing) // it was there
  return {
    checkpoint,
    ...(unread ?? unknown),
    ...{ wanted: control?.wanted, owner: control?.owner },
    warnings: findings.map((each) => (typeof each === 'string' ? each : each.text)),
    problems,
  }
}

type SourceStatus = Pick<StoredStatus, 'head' | 'backlog' | 'oldestUnreadAt' | 'blocked'>

const unknown: SourceStatus = { head: undefined, backlog: undefined, oldestUnreadAt: undefined, blocked: undefined }

/** The head of a table waits for all who write to it now; it is not needed that much. */
async function unlessSlow(source: Pick<Source, 'head'>, signal: AbortSignal): Promise<Cursor | undefined> {
  const slow = AbortSignal.timeout(BLOCKED_AFTER_MS)
  try {
    return await source.head?.({ signal: AbortSignal.any([signal, slow]) })
  } catch (error) {
    if (slow.aborted || signal.aborted) return undefined
    throw error
  }
}

/** What was asked for is there, or its failure told. */
async function closeQuietly(opened: AsyncDisposable | undefined): Promise<void> {
  try {
    await opened?.[Symbol.asyncDispose]()
  } catch {}
}

/** The table of leases is made by the first process that needs it: nobody has one yet. */
function nobody(error: unknown): undefined {
  if (codeOf(error) !== 'TABLE_MISSING') throw error
}
