import type { Clock } from './clock.ts'
import type { Consumer } from './consumer.ts'
import { ReflexError } from './errors.ts'

/** How long `consumer.stop` has before its signal aborts. */
const STOP_WITHIN_MS = 10_000

/** Calls `consumer.stop`, if there is one, with a live signal that aborts with `STOP_TIMEOUT` after 10 s. */
export async function stopConsumer(consumer: Consumer, clock: Clock): Promise<void> {
  if (consumer.stop === undefined) return
  const limit = new AbortController()
  const stopped = new AbortController()
  const late = new ReflexError(
    'STOP_TIMEOUT',
    `consumer ${JSON.stringify(consumer.name)} has not stopped within ${STOP_WITHIN_MS} ms`,
  )
  clock.sleep(STOP_WITHIN_MS, stopped.signal).then(
    () => limit.abort(late),
    () => {},
  )
  try {
    await consumer.stop({ signal: limit.signal })
  } finally {
    stopped.abort()
  }
}
