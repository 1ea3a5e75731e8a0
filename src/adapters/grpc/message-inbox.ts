import { setImmediate as immediate } from 'node:timers/promises'
import { type ClientReadableStream, type Metadata, status } from '@grpc/grpc-js'
import { cancelCall } from './grpc-client.ts'
import type { CallStatus } from './status-error.ts'

/** What a call has brought. */
export interface MessageInbox {
  /** Resolves with the metadata that the server begins with; with undefined if the call ends without. */
  metadata(): Promise<Metadata | undefined>
  /** All messages that are at hand, at least one; undefined when there are no more. Called again only once it has resolved. */
  take(): Promise<readonly Buffer[] | undefined>
  /** The next of them alone; undefined when there are none. Called instead of `take`, at the beginning. */
  takeOne(): Promise<Buffer | undefined>
  /** How the call ended, once `take` has resolved with undefined. */
  readonly ended: CallStatus | undefined
  /** The server had to wait, and the status was not OK: in grpc-js it may then have overtaken messages, which are lost. */
  readonly mayHaveLost: boolean
  /** Ends the call; what waits resolves with undefined. */
  cancel(): void
}

/** What is read ahead goes into one batch, so it is bounded in bytes and in messages. */
const MOST_BYTES = 256 * 1024
const MOST_MESSAGES = 1000

/** Gathers what a call brings, and lets the server wait while there is enough. */
export function messageInbox(call: ClientReadableStream<Buffer>): MessageInbox {
  let messages: Buffer[] = []
  let bytes = 0
  let first: Metadata | undefined
  let ended: CallStatus | undefined
  let isCancelled = false
  let wasPaused = false
  let wake: (() => void) | undefined
  const changed = (): void => wake?.()
  const isFull = (): boolean => bytes >= MOST_BYTES || messages.length >= MOST_MESSAGES

  call.on('metadata', (metadata: Metadata) => {
    first = metadata
    changed()
  })
  call.on('data', (message: Buffer) => {
    messages.push(message)
    bytes += message.length
    if (isFull()) {
      call.pause()
      wasPaused = true
    }
    changed()
  })
  // The status comes before what the call still holds has been read.
  let told: CallStatus | undefined
  call.on('error', () => {}) // the status says the same
  call.on('status', (ending: CallStatus) => {
    told = ending
    if (isRead) onRead()
    changed()
  })
  let isRead = false
  const onRead = (): void => {
    isRead = true
    if (told === undefined) return
    ended = told
    changed()
  }
  call.on('end', onRead)

  const until = async (isDone: () => boolean): Promise<void> => {
    while (!isDone() && !isCancelled) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  return {
    metadata: async () => {
      await until(() => first !== undefined || told !== undefined)
      return first
    },
    take: async () => {
      if (messages.length === 0) {
        await until(() => messages.length > 0 || ended !== undefined)
        await immediate() // by when all that came in one piece is here
      }
      if (messages.length === 0 || isCancelled) return undefined
      const taken = messages
      messages = []
      bytes = 0
      call.resume()
      return taken
    },
    takeOne: async () => {
      await until(() => messages.length > 0 || ended !== undefined)
      const taken = messages.shift()
      bytes -= taken?.length ?? 0
      if (!isFull()) call.resume()
      return taken
    },
    get ended() {
      return ended
    },
    get mayHaveLost() {
      return wasPaused && ended?.code !== status.OK
    },
    cancel: () => {
      isCancelled = true
      cancelCall(call)
      call.resume() // what it still holds would keep it from ending
      messages = []
      changed()
    },
  }
}
