import { codeOf } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import { openStream, type Source } from '../../core/stream.ts'

/** What the adapters call the position before everything that a log has ever held. */
const ORIGINS = ['-1', '0-0', '0']

/** Whether a cursor is the position before everything that a log has ever held, which an empty log has as its head. */
export function isOrigin(cursor: Cursor): boolean {
  return ORIGINS.includes(cursor.replace(/@.*$/, ''))
}

/**
 * Whether entries have been removed from the front of a log, by retention or by hand: by what its server counts, since a stream
 * cannot be opened where it began. False if the log cannot tell.
 */
export async function wasTrimmed({ stream }: Source, signal: AbortSignal | undefined): Promise<boolean> {
  for (const origin of ORIGINS) {
    try {
      const opened = await openStream(stream, origin, { signal, toHead: true })
      await opened[Symbol.asyncDispose]()
      return false
    } catch (error) {
      if (codeOf(error) === 'CURSOR_TRIMMED') return true
      if (codeOf(error) !== 'CURSOR_INVALID') throw error
    }
  }
  return false
}
