import { parseCheckpoint } from '../bridge/checkpoint.ts'
import { untilAborted } from '../core/abort.ts'
import { codeOf } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import { openStream } from '../core/stream.ts'
import type { RouteConfig } from './parse-config.ts'
import type { Endpoint } from './parse-endpoint.ts'
import type { Opened, RoleName } from './scheme.ts'

/** What was found of one part of a route. */
export interface PartCheck {
  readonly part: RoleName
  /** Where it is, without a password. */
  readonly at: string
  /** What was read there: the head, the checkpoint; undefined where there is nothing to read, or it failed. */
  readonly found?: string | undefined
  /** What an operator should know, although it can be used. */
  readonly notes: readonly string[]
  /** Why it cannot be used. */
  readonly error?: unknown
}

/** Options of `checkRoute`. */
export interface CheckRouteOptions {
  /** A table that is missing is no error, since `run` creates it. */
  readonly createTables: boolean
  readonly signal: AbortSignal
}

/** No answer for so long is an error. */
const CHECK_WITHIN_MS = 15_000

/** Proves that each part of a route can be used, and that the checkpoint can be resumed from. Changes nothing and takes nothing over. */
export async function checkRoute(
  { name, source, sink, checkpoints }: RouteConfig,
  { createTables, signal }: CheckRouteOptions,
): Promise<PartCheck[]> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(CHECK_WITHIN_MS)])
  async function check<T>(
    part: RoleName,
    { name: at, open }: Endpoint<T>,
    read: (part: T) => Promise<string | undefined>,
  ): Promise<PartCheck> {
    let opened: Opened<T> | undefined
    try {
      opened = await open({ createTables: false, readOnly: true })
      const found = await untilAborted(read(opened.part), limit)
      const notes = opened.check === undefined ? [] : await untilAborted(opened.check(), limit)
      return { part, at, found, notes }
    } catch (error) {
      signal.throwIfAborted()
      if (createTables && isMissing(error)) return { part, at, notes: ['it is not there yet: run creates it'] }
      return { part, at, notes: [], error }
    } finally {
      await opened?.[Symbol.asyncDispose]()
    }
  }

  let checkpoint: Cursor | undefined
  const kept = await check('checkpoints', checkpoints, async (store) => {
    checkpoint = parseCheckpoint(name, await store.get(name, { signal: limit }))?.cursor
    return checkpoint === undefined ? 'no checkpoint yet' : `checkpoint ${checkpoint}`
  })
  const read = await check('source', source, async ({ stream, head, backlog }) => {
    // Opened as the bridge opens it: that proves the cursor.
    const opened = await openStream(stream, checkpoint ?? '', { signal: limit, toHead: true })
    await opened[Symbol.asyncDispose]()
    const behind = await backlog?.(checkpoint ?? '', { signal: limit })
    return [
      head === undefined ? '' : `head ${await head({ signal: limit })}`,
      behind === undefined ? '' : `backlog ${behind.count} ${behind.unit}`,
    ]
      .filter(Boolean)
      .join(', ')
  })
  return [read, await check('sink', sink, async () => undefined), kept]
}

/** Whether the table or topic, or the file that will hold it, is what is missing; looks through the errors around it. */
function isMissing(error: unknown): boolean {
  return ['TABLE_MISSING', 'FILE_MISSING', 'KAFKA_UNKNOWN_TOPIC_OR_PARTITION', 'JETSTREAM_10059'].includes(
    codeOf(error) ?? '',
  )
}
