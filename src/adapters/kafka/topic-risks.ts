import type { TopicSettings } from './topic-settings.ts'

/** A topic, as far as it can lose what it has acknowledged. */
export interface RiskyTopic {
  readonly topic: string
  readonly holds: 'events' | 'checkpoints'
  /** Of the partition that has the fewest. */
  readonly replicas: number
  /** How many brokers there are. */
  readonly brokers: number
  /** Undefined if they are not known: then only the number of replicas is looked at. */
  readonly settings: TopicSettings | undefined
}

const HOUR_MS = 3_600_000
/** A consumer may stand still over a weekend. */
const LEAST_RETENTION_MS = 72 * HOUR_MS

/** What of a topic can lose events, or checkpoints, that it has acknowledged: the setting, its value, the risk, and what to do. */
export function topicRisks({ topic, holds, replicas, brokers, settings }: RiskyTopic): string[] {
  const risks: string[] = []
  if (replicas < 2 && brokers > 1)
    risks.push(
      `the topic ${topic} has one replica, although there are ${brokers} brokers: all that it holds is lost with the disk of one; give it ${Math.min(3, brokers)} (kafka-reassign-partitions.sh)`,
    )
  if (settings === undefined) return risks

  const number = (name: string): number => Number(settings[name] ?? Number.NaN)
  const is = (name: string): string => `${name} of the topic ${topic} is ${settings[name]}`
  const policies = (settings['cleanup.policy'] ?? '').split(',').map((policy) => policy.trim())
  if (replicas > 1 && number('min.insync.replicas') < 2)
    risks.push(
      `${is('min.insync.replicas')}, with ${replicas} replicas: what one broker alone has acknowledged, since the others lag behind, is lost with it; set it to 2`,
    )
  if (replicas > 1 && settings['unclean.leader.election.enable'] === 'true')
    risks.push(
      `${is('unclean.leader.election.enable')}: a broker that lags behind may come to lead, and what it lacks is lost, although it was acknowledged; set it to false`,
    )

  if (holds === 'checkpoints') {
    if (policies.join() !== 'compact')
      risks.push(`${is('cleanup.policy')}: the checkpoint of a route that stands still is deleted; set it to compact`)
    return risks
  }

  if (policies.includes('compact'))
    risks.push(`${is('cleanup.policy')}: of the events of a key only the last is kept; set it to delete`)
  if (!policies.includes('delete')) return risks
  if (number('retention.bytes') >= 0)
    risks.push(
      `${is('retention.bytes')}: events are deleted as soon as so many bytes follow them, whether they were read or not; set it to -1, and retention.ms to how long consumers may stand still`,
    )
  const retentionMs = number('retention.ms')
  if (retentionMs >= 0 && retentionMs < LEAST_RETENTION_MS)
    risks.push(
      `${is('retention.ms')}: events are deleted after ${hours(retentionMs)}, whether they were read or not, and a consumer may stand still for longer; set it to ${LEAST_RETENTION_MS} at least`,
    )
  return risks
}

function hours(ms: number): string {
  return `${Math.round((ms / HOUR_MS) * 10) / 10} h`
}
