import type { JetStreamConnection } from './nats-connection.ts'

/** The pages are of one moment only if the subjects stay the same meanwhile: so often it begins again for that. */
const ATTEMPTS = 3

/** How many messages a stream has of each subject that matches `filter`; the server tells them in pages, sorted. */
export async function subjectCounts(
  connection: JetStreamConnection,
  stream: string,
  filter: string,
): Promise<Map<string, number>> {
  const found = new Map<string, number>()
  for (let attempt = 1; ; attempt++) {
    let expected: number | undefined
    for (let offset = 0; ; ) {
      const { state, total = 0 } = await connection.api<{
        state: { subjects?: Record<string, number> | null }
        total?: number
      }>(`STREAM.INFO.${stream}`, { subjects_filter: filter, offset })
      const page = Object.entries(state.subjects ?? {})
      for (const [subject, count] of page) found.set(subject, count)
      offset += page.length
      expected ??= total
      if (attempt < ATTEMPTS && total !== expected) break
      if (page.length === 0 || offset >= total) return found
    }
  }
}
