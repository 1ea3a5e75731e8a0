import { OptionError } from '../../core/errors.ts'
import type { JetStreamConnection } from './nats-connection.ts'
import type { RouteSubject } from './route-subject.ts'
import { isSince } from './server-version.ts'
import type { StreamConfig } from './stream-info.ts'
import { covers } from './subjects.ts'

/** What the server tells of a stream, as far as a route needs it. */
export interface RouteInfo {
  readonly config: StreamConfig
  /** When it was made, which tells it from an earlier one of the same name. */
  readonly created: string
  readonly state: {
    readonly messages: number
    readonly first_seq: number
    readonly last_seq: number
  }
}

/** Asks for a stream. */
export function routeInfo(connection: JetStreamConnection, stream: string): Promise<RouteInfo> {
  return connection.request(`$JS.API.STREAM.INFO.${stream}`, '')
}

/** How a route appends to its stream. */
export interface RouteStream {
  /** Whether the stream takes no message but those of the route's prefix. */
  readonly exclusive: boolean
  /** Whether a batch is appended whole or not at all; if not, message by message, each bound to the one before it. */
  readonly atomic: boolean
  /** Why it is not atomic. */
  readonly because: string | undefined
}

/** Decides how a route can append to a stream. Throws an `OptionError` that says what to change if it cannot. */
export function routeStream(
  where: string,
  { config }: RouteInfo,
  { subject, version }: { readonly subject: RouteSubject; readonly version: string },
): RouteStream {
  const { prefix, pattern: wanted } = subject
  const subjects = config.subjects ?? []
  const refuse = (what: string): never => {
    throw new OptionError(`${where}: ${what}`)
  }
  if (config.mirror) refuse('the stream mirrors another one, so that nothing can be published to it: name that one')
  if (!subjects.some((pattern) => covers(pattern, wanted)))
    refuse(
      `events go to ${wanted}, but the stream takes ${subjects.join(', ') || 'no subject'}: add ${prefix}.> to its subjects`,
    )
  if (config.sealed) refuse('the stream is sealed, so that nothing can be appended: choose another one')
  if (config.no_ack) refuse('the stream has no_ack, so that no append is ever confirmed: set no_ack to false')
  if (config.subject_transform)
    refuse('the stream has a subject_transform, so that the events of the route cannot be found again: remove it')

  const exclusive = !config.sources?.length && subjects.every((pattern) => covers(`${prefix}.>`, pattern))
  const ownStream = `give the route a stream of its own, with the subjects ${prefix}.>, and no sources`
  const retention = config.retention ?? 'limits'
  if (!exclusive && retention !== 'limits')
    refuse(
      `the stream removes what has been consumed (retention: ${retention}), and with that what tells how far the route has got: ${ownStream}`,
    )
  const because = notAtomic(config.allow_atomic === true, version)
  if (!exclusive && because !== undefined)
    refuse(
      `${because}, and without atomic batches nobody else may write to the stream, but it takes ${subjects.join(', ')}: ${ownStream}`,
    )
  return { exclusive, atomic: because === undefined, because }
}

function notAtomic(allowed: boolean, version: string): string | undefined {
  if (!isSince(version, '2.12')) return `the server is ${version}, and atomic batches need 2.12`
  return allowed ? undefined : 'the stream has allow_atomic: false'
}
