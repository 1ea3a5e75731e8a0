import type { Cursor, Event } from './event.ts'
import { openStream, type StreamFunc } from './stream.ts'

/** Options of `oldestUnread`. */
export interface OldestUnreadOptions {
  /** Only events of these types. Default: all. */
  readonly types?: readonly number[] | undefined
  readonly signal?: AbortSignal | undefined
}

/**
 * The first event after a cursor, undefined if there is none up to the head: its timestamp tells for how long events have been
 * waiting. Opens a stream for it, which costs a connection and a batch; with `types`, as many batches as it takes to find one, or to
 * reach the head. Rejects as the source does.
 *
 * @example const waitingMs = Date.now() - ((await oldestUnread(source, await cursors.get('mailer')))?.timestamp ?? Date.now())
 */
export async function oldestUnread(
  source: { readonly stream: StreamFunc },
  after: Cursor,
  { types, signal }: OldestUnreadOptions = {},
): Promise<Event | undefined> {
  await using stream = await openStream(source.stream, after, { toHead: true, types, signal })
  for await (const { events } of stream) if (events[0] !== undefined) return events[0]
  return undefined
}
