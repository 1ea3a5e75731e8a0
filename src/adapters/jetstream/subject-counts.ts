import type { JetStreamConnection } from './nats-connection.ts'

/** How many messages a stream has of each subject that matches `filter`; the server tells them in pages. */
export async function subjectCounts(
  connection: JetStreamConnection,
  stream: string,
  filter: string,
): Promise<Map<string, number>> {
  const found = new Map<string, number>()
  for (;;) {
    const { state, total = 0 } = await connection.api<{
      state: { subjects?: Record<string, number> | null }
      total?: number
    }>(`STREAM.INFO.${stream}`, { subjects_filter: filter, offset: found.size })
    const page = Object.entries(state.subjects ?? {})
    for (const [subject, count] of page) found.set(subject, count)
    if (page.length === 0 || found.size >= total) return found
  }
}
