/**
 * Tells processes that there is something new in a log, so that they need not wait until they look again. A hint only: one that
 * is lost, late or given twice costs no event. Make one for each log of what the processes have in common, or take
 * `redisNotifier` or `natsNotifier`.
 *
 * @example
 * const notifier: Notifier = {
 *   notify: async () => void (await redis.publish('shop.events', '')),
 *   subscribe: async (onHint, signal) => {
 *     const own = redis.duplicate()
 *     own.on('message', onHint)
 *     await own.subscribe('shop.events')
 *     await once(signal, 'abort')
 *     own.disconnect()
 *   },
 * }
 */
export interface Notifier {
  /** Gives a hint to every process that has subscribed. */
  notify(): void | Promise<void>
  /**
   * Calls `onHint` at each hint, and once when it has subscribed, if it can tell. Resolves when the signal aborts, by when
   * nothing of it is left; rejects when the subscription is lost.
   */
  subscribe(onHint: () => void, signal: AbortSignal): Promise<void>
}
