import { isSince } from './server-version.ts'
import { covers } from './subjects.ts'

/** How the messages of some subjects are picked out. */
export interface SubjectFilter {
  /** What the server is to pick out; undefined for all. */
  readonly asked: readonly string[] | undefined
  /** Whether a message that the server has sent is wanted. */
  isWanted(message: { readonly subject: string }): boolean
}

/**
 * Makes a filter of subjects. Servers before 2.11 are asked for all messages: after some were removed, 2.9 denies others of the same
 * block that match a subject with wildcards, to a consumer and to whoever asks for the next one. So are those before 2.15 for
 * several subjects: there a consumer jumps over messages when others are purged by subject, or rolled up (nats-server 8572).
 */
export function subjectFilter(subjects: readonly string[] | undefined, version: string): SubjectFilter {
  if (subjects === undefined || isSince(version, subjects.length === 1 ? '2.11' : '2.15'))
    return { asked: subjects, isWanted: () => true }
  return { asked: undefined, isWanted: ({ subject }) => subjects.some((wanted) => covers(wanted, subject)) }
}
