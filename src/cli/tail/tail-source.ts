import { once } from 'node:events'
import { breather } from '../../core/breather.ts'
import { savedCursor } from '../../core/cursor.ts'
import { ReflexError, StreamEndedError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import { openStream, type Source } from '../../core/stream.ts'
import { type Endpoint, parseEndpoint } from '../../service/config/parse-endpoint.ts'
import { stopSignals } from '../stop-signals.ts'
import { eventAsJson, eventAsText } from './format-event.ts'

/** Options of `tailSource`. */
export interface TailOptions {
  /** Default: `""`, the earliest event. */
  readonly after?: Cursor | undefined
  readonly fromHead?: boolean | undefined
  readonly toHead?: boolean | undefined
  readonly types?: readonly number[] | undefined
  /** End after so many events. Default: none. */
  readonly limit?: number | undefined
  readonly json?: boolean | undefined
}

/**
 * Prints the events of the source at `url` to stdout until it ends, a signal comes or the reader of stdout goes away, and then
 * the cursor to stderr. Throws what the source throws, and an error with the code `USAGE` for a URL or options that are wrong.
 */
export async function tailSource(url: string, options: TailOptions): Promise<void> {
  const {
    after = '',
    fromHead = false,
    toHead = false,
    types,
    limit = Number.POSITIVE_INFINITY,
    json = false,
  } = options
  if (fromHead && options.after !== undefined) throw usage('expected --after or --from-head, found both')
  const endpoint = sourceAt(url)
  const format = json ? eventAsJson : eventAsText

  let readerIsGone = false
  using stopping = stopSignals()
  const { signal } = stopping
  process.stdout.on('error', () => {
    readerIsGone = true
    stopping.stop()
  })

  let cursor: Cursor = ''
  await using opened = await endpoint.open({ createTables: false, readOnly: true })
  try {
    const stream = await openStream(opened.part.stream, after, { signal, toHead, fromHead, types })
    cursor = after
    const breathe = breather()
    let left = limit
    for await (const { events, cursor: next } of stream) {
      const wanted = events.slice(0, left)
      left -= wanted.length
      if (wanted.length > 0 && !process.stdout.write(wanted.map((event) => `${format(event)}\n`).join(''))) {
        await once(process.stdout, 'drain', { signal })
      }
      const position = left === 0 ? (wanted.at(-1)?.id ?? next) : next
      cursor = savedCursor(position, stream.incarnation)
      if (left === 0) return
      await breathe()
    }
    if (!toHead && !signal.aborted) throw new StreamEndedError()
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    // What was written for a reader that is gone has not been read.
    if (cursor !== '' && !readerIsGone) {
      process.stderr.write(`last cursor: ${cursor} (go on with --after ${cursor})\n`)
    }
  }
}

/** The source that a URL names; throws an error with the code `USAGE` for one that is wrong. */
export function sourceAt(url: string): Endpoint<Source> {
  const { value, problems } = parseEndpoint('source', { url }, { path: [], folder: process.cwd() })
  if (value !== undefined) return value
  throw usage(
    problems
      .map(({ path: [key], message }) =>
        key === undefined || key === 'url' ? message : `?${key}=… in the URL: ${message}`,
      )
      .join('; '),
  )
}

function usage(message: string): ReflexError {
  return new ReflexError('USAGE', message, { retriable: false })
}
