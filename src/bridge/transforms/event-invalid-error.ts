import { ReflexError } from '../../core/errors.ts'

/** What is wrong with a payload, and where in it. */
export interface EventIssue {
  /** The keys that lead there, joined by dots; empty for the whole. */
  readonly path: string
  readonly message: string
}

/** The payload of an event, `eventId`, is not what its schema accepts. */
export class EventInvalidError extends ReflexError {
  override readonly name = 'EventInvalidError'
  readonly issues: readonly EventIssue[]

  constructor(
    eventId: string,
    { vendor, issues, cause }: { vendor: string; issues: readonly EventIssue[]; cause?: unknown },
  ) {
    const found = issues.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('; ')
    const message = `event ${eventId}: expected a payload that its ${vendor} schema accepts, but found: ${found}`
    super('EVENT_INVALID', message, { cause, retriable: false, kind: 'poison', eventId })
    this.issues = issues
  }
}
