import { savedCursor } from '../core/cursor.ts'
import { OptionError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import { openStream, type Source } from '../core/stream.ts'

/** The head of a source now. Everything up to it is committed, unlike what `head` tells of a table that is being written to. */
export async function pinHead(
  source: Pick<Source, 'name' | 'stream'>,
  signal: AbortSignal | undefined,
): Promise<Cursor> {
  await using stream = await openStream(source.stream, '', { signal, fromHead: true })
  for await (const { cursor } of stream) return savedCursor(cursor, stream.incarnation)
  throw new OptionError(`${source.name}: a stream from the head must begin with the position of the head`)
}
