import { OptionError, ReflexError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import type { WorkAck, WorkAcks } from './work-acks.ts'
import { checkMs, nanoseconds } from './work-config.ts'

/** A message that this consumer has to settle, or somebody gets it again. */
export interface Work {
  /** Its `id` is the sequence in the stream. */
  readonly event: Event
  readonly subject: string
  /** How often it has been delivered, this time included: 1 at first. */
  readonly attempt: number
  /**
   * Aborts when it is no longer this consumer's to do: the processing timeout has passed, the consumer was closed, or the connection is
   * lost. Whoever works on it stops then, as another one may have begun.
   */
  readonly signal: AbortSignal
  /** It is done. With `double`, resolves when the server has taken that, so that it certainly does not come again. */
  ack(options?: { readonly double?: boolean | undefined }): Promise<void>
  /** It is not done: it comes again, or goes to the dead letters. */
  reject(options?: RejectOptions): Promise<void>
  /** It is being worked on: the processing timeout begins anew. Done by itself unless `autoPing` is false. */
  ping(): Promise<void>
}

/** When a message that was rejected comes again: at once, unless one of these is given. */
export interface RejectOptions {
  /** After so many ms. */
  readonly delayMs?: number | undefined
  /** Never: it is recorded as a dead letter, where there is a place for those, and then removed from what is to be done. */
  readonly forGood?: boolean | undefined
  /** After as many ms as this says for the attempt that has failed, from 1 on; never if it says undefined. */
  readonly decide?: ((attempt: number) => number | undefined) | undefined
}

/** A message that is held, as the consumer sees it. */
export interface HeldWork {
  readonly work: Work
  /** Where it is acknowledged. */
  readonly reply: string
  /** Tells the server that it is being worked on. */
  ping(): void
  /** It is no longer this consumer's; the one who works on it is told why. */
  lose(reason: unknown): void
}

/** What a message that is held is made of. */
export interface HoldOptions {
  readonly log: string
  readonly event: Event
  readonly subject: string
  readonly attempt: number
  /** Where it is acknowledged. */
  readonly reply: string
  readonly acks: WorkAcks
  /** Records it before it is terminated. */
  bury(): Promise<void>
  /** It is settled, or lost. */
  released(): void
  /** The processing timeout begins anew. */
  pinged(): void
}

/** Holds a message until it is settled. */
export function holdWork({ log, event, subject, attempt, reply, acks, bury, released, pinged }: HoldOptions): HeldWork {
  const ending = new AbortController()
  let state: 'held' | 'settled' | 'lost' = 'held'
  /** Why it is no longer this consumer's, if that came while it was being buried. */
  let lostMeanwhile: { readonly reason: unknown } | undefined

  /** Whoever settles it is the only one. */
  function take(what: string): void {
    if (state === 'lost') throw lost(log, event, what, ending.signal.reason)
    if (state === 'settled')
      throw new ReflexError(
        'WORK_SETTLED',
        `${log}: message ${event.id} was to be settled (${what}), but it was settled before: do so once`,
        { retriable: false },
      )
    state = 'settled'
  }
  function lose(reason: unknown): void {
    if (state === 'settled') lostMeanwhile = { reason }
    if (state !== 'held') return
    state = 'lost'
    ending.abort(reason)
    released()
  }
  async function settle(ack: WorkAck, double: boolean): Promise<void> {
    released()
    if (double) await acks.confirm(reply, ack)
    else acks.send(reply, ack)
  }
  return {
    work: {
      event,
      subject,
      attempt,
      signal: ending.signal,
      ack: async ({ double = false } = {}) => {
        take('ack')
        await settle('+ACK', double)
      },
      reject: async (options = {}) => {
        const delayMs = delayOf(log, options, attempt)
        take('reject')
        if (delayMs !== undefined) return await settle(nak(delayMs), false)
        try {
          await bury()
        } catch (error) {
          state = 'held' // it has not been settled after all
          if (lostMeanwhile !== undefined) lose(lostMeanwhile.reason)
          throw error
        }
        await settle('+TERM', true) // what was recorded must not come again
      },
      ping: async () => {
        if (state !== 'held') throw lost(log, event, 'ping', ending.signal.reason)
        pinged()
        acks.send(reply, '+WPI')
      },
    },
    reply,
    ping: () => acks.send(reply, '+WPI'),
    lose,
  }
}

/** Undefined: never again. */
function delayOf(log: string, { delayMs, forGood, decide }: RejectOptions, attempt: number): number | undefined {
  if ([delayMs !== undefined, forGood === true, decide !== undefined].filter(Boolean).length > 1)
    throw new OptionError(`${log}: reject takes one of delayMs, forGood and decide, but found more`)
  if (forGood === true) return undefined
  const wanted = decide === undefined ? (delayMs ?? 0) : decide(attempt)
  checkMs(log, 'the time after which a message comes again', wanted, { least: 0, timed: false })
  return wanted
}

function nak(delayMs: number): WorkAck {
  return delayMs === 0 ? '-NAK' : `-NAK {"delay": ${nanoseconds(delayMs)}}`
}

function lost(log: string, { id }: Event, what: string, cause: unknown): ReflexError {
  return new ReflexError(
    'WORK_LOST',
    `${log}: message ${id} was to be settled (${what}), but is no longer this consumer's: the processing timeout has passed, or the consumer has ended. It is delivered again: expect that it is done twice`,
    { cause },
  )
}
