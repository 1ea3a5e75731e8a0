import { deflateRawSync, inflateRawSync } from 'node:zlib'
import { OptionError } from '../../core/errors.ts'
import type { Command } from './property.ts'

/** A schedule that broke a property, and of which suite it is. */
export interface Replay {
  readonly of: string
  readonly property: string
  readonly schedule: readonly Command[]
}

/** More than any schedule; a token that unpacks to more is not one of ours. */
const MAX_BYTES = 1024 * 1024

/** The whole of it in one word: it does not depend on the seed, the versions of anything, or the order of the properties. */
export function formatToken({ of, property, schedule }: Replay): string {
  return deflateRawSync(JSON.stringify([1, of, property, schedule])).toString('base64url')
}

/** What `formatToken` made. Throws an `OptionError` on anything else. */
export function parseToken(token: string): Replay {
  try {
    const text = inflateRawSync(Buffer.from(token, 'base64url'), { maxOutputLength: MAX_BYTES }).toString()
    const [version, of, property, schedule] = JSON.parse(text) as [unknown, unknown, unknown, unknown]
    const isCommand = (each: unknown): each is Command => typeof (each as Command | null)?.do === 'string'
    if (version !== 1) throw new Error(`its version is ${String(version)}, not 1`)
    if (typeof of === 'string' && typeof property === 'string' && Array.isArray(schedule) && schedule.every(isCommand))
      return { of, property, schedule }
    throw new Error('it holds no schedule')
  } catch (cause) {
    throw new OptionError(
      `${JSON.stringify(token.slice(0, 60))} is not a replay token: copy the whole word that a failure prints after "replay"`,
      cause,
    )
  }
}
