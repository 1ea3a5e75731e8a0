import { ReflexError } from '../../core/errors.ts'
import type { NatsMessage } from './nats-client.ts'
import type { JetStreamConnection } from './nats-connection.ts'

/** Asks a consumer on the server for messages, one request at a time. */
export interface WorkPull extends Disposable {
  /** Asks for up to `count` messages, unless a request is under way. */
  ask(count: number): void
  /** Resolves when no request is under way, so that nothing more comes, or when it should have ended. */
  quiet(): Promise<void>
}

/** The server ends a request after so long: whoever closes waits no longer for what may still come. */
const EXPIRES_MS = 500
/** And says so a little later. */
const LATE_MS = 200
/** A server that says nothing for so many of these is frozen. A held up event loop counts as one. */
const LOOK_EVERY_MS = 500
const SILENT_LOOKS = 5

/** Prepares requests. `onMessage` gets messages of the stream, `onFree` is called when a request has ended, `onFailure` once. */
export function workPull(
  connection: JetStreamConnection,
  { log, stream, name }: { readonly log: string; readonly stream: string; readonly name: string },
  on: { message(message: NatsMessage): void; free(): void; failure(error: ReflexError): void },
): WorkPull {
  const inbox = `${connection.inbox}.work`
  let left = 0
  let watch: NodeJS.Timeout | undefined
  let silentFor = 0
  let quieted = Promise.withResolvers<void>()
  const subscription = connection.subscribe(inbox, receive, on.failure)

  function ended(): void {
    left = 0
    clearInterval(watch)
    quieted.resolve()
    on.free()
  }
  function receive(message: NatsMessage): void {
    silentFor = 0
    if (message.reply?.startsWith('$JS.ACK.')) {
      left--
      on.message(message)
      if (left === 0) ended()
      return
    }
    const { code = 0, description = '' } = message.headers ?? {}
    if (code === 100) return
    if (code === 404 || code === 408 || (code === 409 && /batch completed/i.test(description))) {
      ended()
      return
    }
    clearInterval(watch)
    on.failure(
      new ReflexError(
        code === 503 || /deleted/i.test(description) ? 'NATS_CONSUMER_GONE' : 'NATS_PULL_REFUSED',
        `${log}: the server ended the consumer: ${code} ${description || 'nobody answers'}`,
      ),
    )
  }

  return {
    ask: (count) => {
      if (left > 0 || count < 1) return
      left = count
      silentFor = 0
      quieted = Promise.withResolvers()
      clearInterval(watch)
      watch = setInterval(() => {
        silentFor++
        if (silentFor < SILENT_LOOKS) return
        clearInterval(watch)
        on.failure(
          new ReflexError(
            'NATS_CONNECTION',
            `${log}: the server has not answered for ${SILENT_LOOKS * LOOK_EVERY_MS} ms: start again`,
          ),
        )
      }, LOOK_EVERY_MS)
      const body = JSON.stringify({ batch: count, expires: EXPIRES_MS * 1e6 })
      connection.publish(`$JS.API.CONSUMER.MSG.NEXT.${stream}.${name}`, body, { reply: inbox })
    },
    quiet: async () => {
      if (left === 0) return
      const timer = setTimeout(quieted.resolve, EXPIRES_MS + LATE_MS)
      await quieted.promise
      clearTimeout(timer)
    },
    [Symbol.dispose]: () => {
      clearInterval(watch)
      quieted.resolve()
      subscription.unsubscribe()
    },
  }
}
