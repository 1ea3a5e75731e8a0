import type { StreamConfig } from './stream-info.ts'

/** How a stream can lose what it has confirmed, in words for an operator: what is set, and what that risks. */
export interface StreamRisks {
  /** What a source of truth must not have. */
  readonly risks: readonly string[]
  /** What removes messages on purpose, and should be known. */
  readonly notes: readonly string[]
}

/** Judges a stream of a cluster of `servers` servers. */
export function streamRisks(config: StreamConfig, { servers }: { readonly servers: number }): StreamRisks {
  const { storage, retention, num_replicas = 1, discard = 'old', discard_new_per_subject } = config
  const { max_msgs = -1, max_bytes = -1, max_msgs_per_subject = -1, max_age = 0 } = config
  const risks: string[] = []
  const notes: string[] = []
  if (storage === 'memory') risks.push('the stream is kept in memory: a restart of the server loses all of it')
  if (num_replicas === 1 && servers > 1)
    risks.push(
      `num_replicas is 1, in a cluster of at least ${servers} servers: what that one server loses is lost: set 3`,
    )
  if (num_replicas === 2)
    notes.push('num_replicas is 2: nothing can be stored or read while either server is down: set 3')
  if (retention === 'interest')
    risks.push('retention is interest: what comes while there is no consumer is removed at once')
  if (retention === 'workqueue') notes.push('retention is workqueue: what a consumer has acknowledged is removed')
  const full = Object.entries({ max_msgs, max_bytes }).filter(([, limit]) => limit > 0)
  if (discard === 'old' && full.length > 0) {
    const told = full.map(([name, limit]) => `${name} ${limit}`).join(', ')
    risks.push(
      `the stream discards old messages at its limits (${told}), whether they have been consumed or not: remove the limits, or set discard to new`,
    )
  }
  if (max_msgs_per_subject > 0 && !(discard === 'new' && discard_new_per_subject))
    risks.push(
      `max_msgs_per_subject is ${max_msgs_per_subject}: only so many events of a type are kept: remove the limit`,
    )
  if (max_age > 0)
    notes.push(`max_age is ${Number(max_age) / 1e9} s: what is older is removed, whether it has been consumed or not`)
  return { risks, notes }
}

/** Judges a key-value bucket with cursors, of which only the newest of each key counts. */
export function bucketRisks(config: StreamConfig, { servers }: { readonly servers: number }): string[] {
  const { storage, num_replicas = 1, max_age = 0 } = config
  const risks: string[] = []
  if (storage === 'memory') risks.push('the bucket is kept in memory: a restart of the server loses all cursors')
  if (num_replicas === 1 && servers > 1)
    risks.push(
      `num_replicas is 1, in a cluster of at least ${servers} servers: cursors that this one server loses are lost: set 3`,
    )
  if (max_age > 0)
    risks.push(
      `the bucket has a ttl of ${Number(max_age) / 1e9} s: the cursor of a consumer that is idle for so long is removed: remove it`,
    )
  return risks
}
