import type { ServerResponse } from 'node:http'
import { Refusal } from './refusal.ts'

/** Sends the same text to everybody who listens, as server-sent events, for as long as somebody does. */
export interface LiveUpdates extends Disposable {
  /** Takes over a response whose headers are not yet sent. Throws a `Refusal` when too many listen. */
  join(response: ServerResponse, headers: Readonly<Record<string, string>>): void
}

/** Options of `liveUpdates`. */
export interface LiveUpdatesOptions {
  /** In ms. */
  readonly everyMs: number
  /** At most so many listen. */
  readonly listeners: number
}

/** Who does not read loses the connection when so much waits for it. */
const UNREAD_BYTES = 1 << 20
const HEARTBEAT = ': still here\n\n'
const END = 'event: end\ndata: {}\n\n'

/** Asks `read` for the text of an update. While that takes longer than `everyMs`, listeners get a comment that shows that the connection lives. */
export function liveUpdates(
  read: () => Promise<string>,
  { everyMs, listeners: most }: LiveUpdatesOptions,
): LiveUpdates {
  const listeners = new Set<ServerResponse>()
  let timer: NodeJS.Timeout | undefined
  let reading = false
  let ended = false

  const send = (text: string): void => {
    for (const listener of listeners) {
      listener.write(text)
      if (listener.writableLength > UNREAD_BYTES) listener.destroy()
    }
  }
  const update = async (): Promise<void> => {
    if (reading) return send(HEARTBEAT)
    reading = true
    try {
      send(`event: routes\ndata: ${await read()}\n\n`)
    } finally {
      reading = false
    }
  }
  return {
    join: (response, headers) => {
      if (ended) throw new Refusal(503, 'expected a server that goes on, found one that is ending')
      if (listeners.size >= most)
        throw new Refusal(
          503,
          `expected at most ${most} listeners, found ${most} already: close a dashboard that is not needed`,
        )
      response.writeHead(200, {
        ...headers,
        'content-type': 'text/event-stream; charset=utf-8',
        connection: 'close', // its end is the connection's
      })
      response.write('retry: 2000\n\n')
      listeners.add(response)
      response.on('close', () => {
        listeners.delete(response)
        if (listeners.size > 0) return
        clearInterval(timer)
        timer = undefined
      })
      timer ??= setInterval(() => void update(), everyMs)
      void update()
    },
    [Symbol.dispose]: () => {
      ended = true
      clearInterval(timer)
      for (const listener of listeners) listener.end(END)
      listeners.clear()
    },
  }
}
