import { channel } from 'node:diagnostics_channel'
import type { Observer } from '../core/observer.ts'

/** Held here, since a channel that nobody holds is another one the next time. */
const channels = {
  opened: channel('reflex-bridge:opened'),
  progress: channel('reflex-bridge:progress'),
  timed: channel('reflex-bridge:timed'),
  saved: channel('reflex-bridge:saved'),
  repaired: channel('reflex-bridge:repaired'),
  passed: channel('reflex-bridge:passed'),
  closed: channel('reflex-bridge:closed'),
  failed: channel('reflex-bridge:failed'),
  restarting: channel('reflex-bridge:restarting'),
}

/**
 * Publishes what it is told through `node:diagnostics_channel`: the channel `reflex-bridge:opened` and so on, by the members of
 * `Observer`, whose payload is what the member is given, and `name`; of `saved` `cursor`, of `repaired` `text`, of `failed` `error`.
 * Costs a look at a field while nobody has subscribed.
 *
 * @example
 * subscribe('reflex-bridge:failed', (message) => console.error(message))
 * await supervise((o) => run(spec, o), { observer: diagnosticsObserver('mailer'), signal })
 */
export function diagnosticsObserver(name: string): Required<Observer> {
  const publish =
    <K extends keyof Observer>(
      member: K,
      payload: (told: Parameters<NonNullable<Observer[K]>>[0]) => object = (told) => told as object,
    ) =>
    (told: Parameters<NonNullable<Observer[K]>>[0]): void => {
      const { [member]: found } = channels
      if (found.hasSubscribers) found.publish({ ...payload(told), name })
    }
  return {
    opened: publish('opened'),
    progress: publish('progress'),
    timed: publish('timed'),
    saved: publish('saved', (cursor) => ({ cursor })),
    repaired: publish('repaired', (text) => ({ text })),
    passed: publish('passed'),
    closed: publish('closed'),
    failed: publish('failed', (error) => ({ error })),
    restarting: publish('restarting'),
  }
}
