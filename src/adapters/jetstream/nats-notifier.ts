import type { Notifier } from '../../core/notifier.ts'
import { onDemand } from '../../core/on-demand.ts'
import type { ConnectNats } from './nats-client.ts'
import { connectNats } from './nats-connection.ts'

/**
 * Hints between processes by core NATS on a subject, which is to be the same for all that share a log; no stream is needed.
 * Each object that is given it has one connection more while it listens, and one while it has hints to give.
 *
 * @example const events = mysqlEvents(pool, { notifier: natsNotifier(() => connect({ servers, ...jetstreamFailFast }), 'shop.events') })
 */
export function natsNotifier(connect: ConnectNats, subject: string): Notifier {
  const log = `nats:${subject}`
  const publisher = onDemand((signal) => connectNats(connect, { log, signal }))
  return {
    notify: () => publisher.use(async (connection) => connection.publish(subject)),
    subscribe: async (onHint, signal) => {
      await using connection = await connectNats(connect, { log, signal })
      const aborted = Promise.withResolvers<void>()
      const lost = Promise.withResolvers<never>()
      connection.subscribe(subject, () => onHint(), lost.reject)
      signal.addEventListener('abort', () => aborted.resolve(), { once: true })
      onHint()
      const closed = connection.closed.then((error) => Promise.reject(error))
      await Promise.race([signal.aborted ? undefined : aborted.promise, lost.promise, closed])
    },
  }
}
