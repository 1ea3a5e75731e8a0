import { OptionError } from '../core/errors.ts'
import type { Observer, Status } from '../core/observer.ts'
import type { Source } from '../core/stream.ts'
import { type ConsumerMeter, consumerMeter } from './consumer-meter.ts'
import type { ConsumerReading } from './consumer-metrics.ts'
import { type LagSeen, lagGauge } from './lag-gauge.ts'
import { unreadAfter } from './unread-after.ts'

/** Options of a consumer, or a bridge, whose metrics are kept. */
export interface MeasuredOptions {
  /** What it reads: asked for the backlog and its oldest event when metrics are wanted. Without it there is neither, and no lag. */
  readonly source?: Pick<Source, 'stream' | 'backlog' | 'blocked'> | undefined
  /** In place of `source`: what tells the same. Must not reject. */
  readonly status?: (() => Promise<(LagSeen & Pick<Status, 'blocked'>) | undefined>) | undefined
  /** A lag above this is an alert, in ms, and so is one that has been unknown for longer. Default: 30 minutes. */
  readonly lagAlertMs?: number | undefined
}

/** The observer of one consumer, to be given to `run`, `bridge` or `supervise`. Disposing of it takes its metrics away. */
export interface MeasuredConsumer extends Required<Observer>, Disposable {}

/** Consumers by their names. */
export interface ConsumerRegistry {
  /** Adds one; throws an `OptionError` if one of the name is there, or its limit is no time. */
  add(name: string, options?: MeasuredOptions): MeasuredConsumer
  /** What is known of each. Never rejects, and waits no longer than 2 s for sources. */
  read(): Promise<readonly ConsumerReading[]>
}

/** Options of `consumerRegistry`. */
export interface ConsumerRegistryOptions {
  /** Epoch in ms. Default: the machine's clock. */
  readonly now?: (() => number) | undefined
  /** Of each consumer: what is told of every observation, in seconds, that goes into a histogram. */
  readonly observedOf?: ((name: string) => (what: 'eventAge' | 'latency', seconds: number) => void) | undefined
}

const LAG_ALERT_MS = 30 * 60_000

/** Makes an empty one. */
export function consumerRegistry({ now = Date.now, observedOf }: ConsumerRegistryOptions = {}): ConsumerRegistry {
  const consumers = new Map<string, () => Promise<ConsumerReading>>()
  return {
    add: (name, options = {}) => {
      if (consumers.has(name)) {
        throw new OptionError(
          `metrics: there is a consumer ${JSON.stringify(name)} already, and one would overwrite the other: ` +
            'keep one observer per consumer over all its runs, and dispose of it before another one of its name is made',
        )
      }
      const { lagAlertMs } = options
      if (lagAlertMs !== undefined && !(lagAlertMs >= 0))
        throw new OptionError(
          `metrics: lagAlertMs of ${JSON.stringify(name)} must be 0 or more ms, but is ${lagAlertMs}`,
        )
      const meter = consumerMeter({ now, onObserved: observedOf?.(name) })
      const read = reader(name, meter, options, now)
      consumers.set(name, read)
      return {
        ...meter.observer,
        [Symbol.dispose]: () => {
          if (consumers.get(name) === read) consumers.delete(name)
        },
      }
    },
    read: () => Promise.all([...consumers.values()].map((read) => read())),
  }
}

/** The metrics of others are not to be missed because one source throws where it should not. */
function blockedOf(source: MeasuredOptions['source']): Status['blocked'] {
  try {
    return source?.blocked?.()
  } catch {
    return undefined
  }
}

function reader(
  name: string,
  meter: ConsumerMeter,
  { source, status, lagAlertMs = LAG_ALERT_MS }: MeasuredOptions,
  now: () => number,
): () => Promise<ConsumerReading> {
  const gauge = lagGauge()
  const unread = unreadAfter(now)
  const look = async (): Promise<LagSeen & Pick<Status, 'blocked'>> => {
    const { position } = meter
    const following = position === undefined ? undefined : await unread(source, position)
    const state = meter.active ? 'running' : 'waiting' // as it is after the answer
    return { backlog: undefined, oldestUnreadAt: undefined, ...following, state, blocked: blockedOf(source) }
  }
  return async () => {
    const seen = source === undefined && status !== undefined ? await status() : await look()
    if (seen !== undefined) gauge.saw(seen, now())
    const isKnown = source !== undefined || status !== undefined
    const lagMs = isKnown ? gauge.lagMs(now()) : undefined
    const waitedMs = isKnown ? (lagMs ?? gauge.unknownMs(now())) : undefined
    return {
      name,
      lagMs,
      lagAlert: waitedMs === undefined ? undefined : waitedMs > lagAlertMs,
      active: meter.active,
      backlog: seen?.backlog,
      blockedMs: isKnown && seen !== undefined ? (seen.blocked?.blockedMs ?? 0) : undefined,
      counts: meter,
    }
  }
}
