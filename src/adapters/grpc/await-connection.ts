import { connectivityState, status } from '@grpc/grpc-js'
import { systemClock } from '../../core/clock.ts'
import type { GrpcClient } from './grpc-client.ts'
import { statusError } from './status-error.ts'

/** A watch of the channel cannot be called off, so it is no longer than this. */
const WATCH_MS = 200

/** This part of the time that a call has may be spent on its connection: the rest is for the call itself. */
const SHARE = 0.9

/** What came of waiting for a connection. */
export interface Connecting {
  readonly isThere: boolean
  /** Whom was asked, and if there is no connection, what was tried, for how long: in words, for errors. */
  readonly asked: string
}

/**
 * Waits for the client's connection, through the attempts that its channel makes, while the call that is to be made has time (`withinMs`),
 * and until the signal aborts. Where there is none then, a call fails at once, with the reason of the last attempt. Throws
 * `GRPC_UNAVAILABLE` where that attempt still goes on.
 */
export async function awaitConnection(
  name: string,
  client: GrpcClient,
  { withinMs, signal }: { withinMs: number; signal?: AbortSignal | undefined },
): Promise<Connecting> {
  const channel = client.getChannel()
  const address = channel.getTarget()
  const beganAt = systemClock.now()
  const untilMs = beganAt + withinMs * SHARE
  const seen: string[] = []
  for (;;) {
    signal?.throwIfAborted()
    // A channel that was closed would be opened again by being asked to connect.
    const state = channel.getConnectivityState(false)
    const now = systemClock.now()
    if (state === connectivityState.READY || state === connectivityState.SHUTDOWN)
      return { isThere: true, asked: address }
    if (seen.at(-1) !== connectivityState[state]) seen.push(connectivityState[state])
    if (now >= untilMs) {
      const asked = `${address}, which has not been connected within ${now - beganAt} ms (${seen.slice(-6).join(', ')}),`
      if (state === connectivityState.TRANSIENT_FAILURE) return { isThere: false, asked }
      const details =
        'the connection is still being made: is this the address, and does anything on the way drop packets?'
      throw statusError(name, { code: status.UNAVAILABLE, details, asked })
    }
    channel.getConnectivityState(true)
    await new Promise((resolve) => {
      channel.watchConnectivityState(state, Math.min(untilMs, now + WATCH_MS), resolve)
    })
  }
}
