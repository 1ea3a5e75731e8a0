import { ReflexError } from '../../core/errors.ts'
import type { Blocked } from '../../core/stream.ts'

/** A transaction or a lock was in the way of a stream for longer than `gapTimeoutMs`. Started again, it goes on where it was. */
export class GapBlockedError extends ReflexError {
  override readonly name = 'GapBlockedError'
  /** Who was in the way, and for how long. */
  readonly blocked: Blocked

  constructor(log: string, blocked: Blocked, gapTimeoutMs: number) {
    const { connectionId } = blocked
    const end =
      connectionId === undefined
        ? 'end its transaction'
        : `look what that connection does, and end its transaction (KILL ${connectionId})`
    super(
      'GAP_BLOCKED',
      `${log}: for ${Math.round(blocked.blockedMs)} ms (gapTimeoutMs is ${gapTimeoutMs}) reading could not go on behind ${blocked.holder}. ` +
        `The id that is missing may still be committed, so it is not passed over: ${end}, or wait for longer.`,
    )
    this.blocked = blocked
  }
}
