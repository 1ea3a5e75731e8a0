import type { DeadLetters } from '../bridge/dead-letters.ts'
import type { CursorStore } from '../core/cursor.ts'
import type { Sink } from '../core/sink.ts'
import type { Source } from '../core/stream.ts'
import type { RouteConfig } from './config/parse-config.ts'
import type { OpenContext, Opened } from './config/scheme.ts'

/** The parts of a route, open. Disposing it ends their connections. */
export interface OpenRoute extends AsyncDisposable {
  readonly source: Source
  readonly sink: Sink
  readonly checkpoints: CursorStore
  readonly deadLetters: DeadLetters | undefined
  /** How many of those may be open. */
  readonly maxDeadLetters: number | undefined
  /** Creates the tables that are missing at either end. */
  createTables(): Promise<void>
}

/** Opens all parts of a route; if one cannot be opened, none stays open. */
export async function openRoute(
  { source, sink, checkpoints, deadLetters }: RouteConfig,
  context: OpenContext,
): Promise<OpenRoute> {
  const parts: Opened<unknown>[] = []
  const opened = async <T>(opening: Promise<Opened<T>>): Promise<T> => {
    const part = await opening
    parts.push(part)
    return part.part
  }
  const close = async (): Promise<void> => {
    const results = await Promise.allSettled(parts.map((part) => part[Symbol.asyncDispose]()))
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }
  try {
    return {
      source: await opened(source.open(context)),
      sink: await opened(sink.open(context)),
      checkpoints: await opened(checkpoints.open(context)),
      deadLetters: deadLetters && (await opened(deadLetters.open(context))),
      maxDeadLetters: deadLetters?.options['max'] as number | undefined,
      createTables: async () => {
        for (const part of parts) await part.createTables?.()
      },
      [Symbol.asyncDispose]: close,
    }
  } catch (error) {
    await close()
    throw error
  }
}
