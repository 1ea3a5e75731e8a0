import { parseCheckpoint } from '../bridge/checkpoint.ts'
import { untilAborted } from '../core/abort.ts'
import { codeOf } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import { openStream } from '../core/stream.ts'
import type { RouteConfig } from './config/parse-config.ts'
import type { Endpoint } from './config/parse-endpoint.ts'
import type { CheckFinding, Opened, RoleName } from './config/scheme.ts'

/** What was found of one part of a route. */
export interface PartCheck {
  readonly part: RoleName
  /** Where it is, without a password. */
  readonly at: string
  /** What was read there: the head, the checkpoint; undefined where there is nothing to read, or it failed. */
  readonly found?: string | undefined
  /** What an operator should know of it; those with the severity `error` say why it cannot be used. */
  readonly findings: readonly CheckFinding[]
  /** Why it cannot be used. */
  readonly error?: unknown
}

/** Whether a part can be used as it is. */
export function isRight({ findings, error }: PartCheck): boolean {
  return error === undefined && findings.every(({ severity }) => severity !== 'error')
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
  { name, source, sink, checkpoints, deadLetters }: RouteConfig,
  { createTables, signal }: CheckRouteOptions,
): Promise<PartCheck[]> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(CHECK_WITHIN_MS)])
  async function check<T>(
    part: RoleName,
    { name: at, open }: Endpoint<T>,
    read: (part: T) => Promise<string | undefined>,
  ): Promise<PartCheck> {
    let opened: Opened<T> | undefined
    const look = async (): Promise<CheckFinding[]> => {
      const found = opened?.check === undefined ? [] : await untilAborted(opened.check(), limit)
      return found.map((each) => (typeof each === 'string' ? warning(each) : each))
    }
    try {
      opened = await open({ createTables: false, readOnly: true })
      const found = await untilAborted(read(opened.part), limit)
      return { part, at, found, findings: await look() }
    } catch (error) {
      signal.throwIfAborted()
      if (createTables && isMissing(error))
        return { part, at, findings: [warning('it is not there yet: run creates it')] }
      // They may say what mends it.
      return { part, at, findings: await look().catch(() => []), error }
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
  const parts = [read, await check('sink', sink, async () => undefined), kept]
  if (deadLetters === undefined) return parts
  const letters = await check('deadLetters', deadLetters, async ({ list }) => {
    const [first] = await list({ consumer: name, limit: 1, signal: limit })
    return first === undefined ? 'none open' : `open, the first of event ${first.eventId}`
  })
  return [...parts, letters]
}

function warning(text: string): CheckFinding {
  return { severity: 'warning', text, statements: [] }
}

/** Whether the table or topic, or the file that will hold it, is what is missing; looks through the errors around it. */
export function isMissing(error: unknown): boolean {
  return ['TABLE_MISSING', 'FILE_MISSING', 'KAFKA_UNKNOWN_TOPIC_OR_PARTITION', 'JETSTREAM_10059'].includes(
    codeOf(error) ?? '',
  )
}
