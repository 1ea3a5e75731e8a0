import type { SourceSubject } from 'reflex-bridge/testing'
import { httpPages } from './http-pages.ts'
import { type ServedLog, serveLog } from './serve-log.ts'

/** A server with an empty log, and what can happen to both. */
export async function create(): Promise<SourceSubject> {
  const log: ServedLog = { epoch: 1, trimmed: 0, entries: [] }
  const { url, ...server } = await serveLog(log)
  const push = (event: object): string => {
    const id = String(log.entries.length + 1)
    log.entries.push({ timestamp: Date.now(), headers: {}, metadata: null, ...event, id })
    return id
  }
  return {
    ...server, // cut, restart, freeze, connections, and its end
    source: httpPages(url, { limit: 3, pollMs: 10, timeoutMs: 1000 }),
    malformed: ['01', '+1', '1.0'],
    append: async (events) =>
      events.map(({ metadata, ...event }) =>
        push({ ...event, metadata: metadata ? Buffer.from(metadata).toString('base64') : null }),
      ),
    corrupt: async () => void push({ type: 'none' }),
    trim: async (id) => void Object.assign(log, { trimmed: Math.max(log.trimmed, Number(id) - 1) }),
    rewind: async (id) => void log.entries.splice(Number(id)),
    recreate: async () => void Object.assign(log, { epoch: log.epoch + 1, trimmed: 0, entries: [] }),
  }
}
