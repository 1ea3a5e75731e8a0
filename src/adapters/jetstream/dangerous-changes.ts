import type { JetStreamConnection } from './nats-connection.ts'
import type { StreamConfig } from './stream-info.ts'
import { inWords, isSame, type StreamLimit, type StreamSettings, textOf } from './stream-settings.ts'
import { subjectCounts } from './subject-counts.ts'
import { covers } from './subjects.ts'

/** What the server says of a stream that is to be changed. */
export interface StreamReply {
  readonly config: StreamConfig
  readonly state: { readonly messages: number; readonly bytes: number; readonly first_ts: string }
  /** By the server's clock; servers older than 2.10 do not tell. */
  readonly ts?: string
}

/** A change of a stream: what it is, and what it is to be. */
export interface StreamChange {
  readonly stream: string
  readonly there: StreamReply
  readonly from: StreamSettings
  readonly to: StreamSettings
}

/** What a change would lose, and how to do it by hand: a sentence for each setting that is dangerous to change. */
export async function dangerousChanges(connection: JetStreamConnection, change: StreamChange): Promise<string[]> {
  const { stream, there, from, to } = change
  const changed = (name: keyof StreamSettings): boolean => !isSame(name, from[name], to[name])
  if (there.config.sealed)
    return ['the stream is sealed, so that neither it nor what it holds can ever be changed: make another stream']
  const dangers: string[] = []
  const danger = (name: keyof StreamSettings, lost: string, byHand: string): void => {
    if (changed(name))
      dangers.push(`${name} is ${inWords(from[name])} and was to be ${inWords(to[name])}: ${lost}: ${byHand}`)
  }
  const another = `make another stream with sources: [{ stream: '${stream}' }], and go over to that one`

  danger('storage', 'the server cannot move what is stored', another)
  danger('retention', 'the server would remove other messages than before, or cannot change it', another)
  danger('mirror', 'its messages are those of the other stream, under their sequences', 'make another stream')
  if (to.replicas < from.replicas)
    danger(
      'replicas',
      'fewer copies would be left of what is stored',
      `nats stream edit ${stream} --replicas ${to.replicas}`,
    )
  for (const name of ['denyDelete', 'denyPurge'] as const)
    if (from[name]) danger(name, 'the server never takes that back', another)
  const gone = from.sources.filter((source) => !to.sources.some((each) => textOf(each) === textOf(source)))
  if (gone.length > 0)
    danger('sources', `what comes to ${gone.map(textOf).join(', ')} would no longer be copied`, another)

  const deletesInstead = `what it refused when it was full would be stored, and the oldest removed for it: nats stream edit ${stream} --discard old`
  if (to.discard === 'old' && [to.maxMessages, to.maxBytes].some((limit) => limit !== 'unlimited'))
    danger('discard', 'the stream would begin to remove messages', deletesInstead)
  if (!to.discardNewPerSubject && to.maxMessagesPerSubject !== 'unlimited')
    danger('discardNewPerSubject', 'the stream would begin to remove messages', deletesInstead)

  const { messages, bytes, first_ts } = there.state
  const purge = `if they are to go, purge them first (nats stream purge ${stream} --keep N, or --seq N)`
  const above = (limit: StreamLimit, value: number): boolean => limit !== 'unlimited' && value > limit
  if (above(to.maxMessages, messages))
    danger('maxMessages', `there are ${messages} messages, of which the oldest would be removed`, purge)
  if (above(to.maxBytes, bytes))
    danger('maxBytes', `there are ${bytes} bytes of messages, of which the oldest would be removed`, purge)
  const isOlder = (limit: StreamLimit): boolean =>
    there.ts === undefined // only the server's own clock can tell
      ? limit !== 'unlimited' && (from.maxAgeMs === 'unlimited' || limit < from.maxAgeMs)
      : above(limit, Date.parse(there.ts) - Date.parse(first_ts))
  if (messages > 0 && isOlder(to.maxAgeMs))
    danger(
      'maxAgeMs',
      `the oldest message is of ${first_ts}, and ${there.ts === undefined ? 'this server does not tell how old that is by its own clock, so that it could be removed' : 'what is older would be removed'}`,
      purge,
    )
  if (
    changed('maxMessagesPerSubject') &&
    to.maxMessagesPerSubject !== 'unlimited' &&
    messages > to.maxMessagesPerSubject
  ) {
    const counts = await subjectCounts(connection, stream, '>')
    const full = [...counts].filter(([, count]) => above(to.maxMessagesPerSubject, count)).map(([subject]) => subject)
    if (full.length > 0)
      danger(
        'maxMessagesPerSubject',
        `there are more messages of ${some(full)}, of which the oldest would be removed`,
        purge,
      )
  }
  if (
    changed('subjects') &&
    messages > 0 &&
    !from.subjects.every((old) => to.subjects.some((each) => covers(each, old)))
  ) {
    const takes = (subjects: readonly string[], subject: string): boolean =>
      subjects.some((each) => covers(each, subject))
    const left = [...(await subjectCounts(connection, stream, '>')).keys()].filter(
      (subject) => takes(from.subjects, subject) && !takes(to.subjects, subject),
    )
    if (left.length > 0)
      danger(
        'subjects',
        `there are messages of ${some(left)}, and what is published there would no longer be stored`,
        `stop its publishers, then purge them (nats stream purge ${stream} --subject …), or keep the subject`,
      )
  }
  return dangers
}

function some(subjects: readonly string[]): string {
  const more = subjects.length - 3
  return subjects.slice(0, 3).join(', ') + (more > 0 ? ` and ${more} more` : '')
}
