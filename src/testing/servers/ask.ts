import { connect } from 'node:net'
import type { Address } from './server.ts'

const WITHIN_MS = 1000

/** A server that may only be slow has not answered in time. */
export class NoAnswerError extends Error {
  override readonly name = 'NoAnswerError'
}

/**
 * Connects, sends `request` and resolves with the first defined value `reply` makes of all bytes received so far.
 * Rejects where the connection fails or ends, where `reply` throws, and, with a `NoAnswerError`, after one second.
 */
export function ask<T>(
  address: Address,
  request: string | Uint8Array,
  reply: (received: Buffer) => T | undefined,
  signal: AbortSignal,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  let received = Buffer.alloc(0)
  const limit = AbortSignal.timeout(WITHIN_MS)
  const socket = connect({ host: address.host, port: address.port, signal: AbortSignal.any([signal, limit]) })
  socket.on('connect', () => {
    if (request.length > 0) socket.write(request)
  })
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk])
    try {
      const value = reply(received)
      if (value !== undefined) resolve(value)
    } catch (error) {
      reject(error)
    }
  })
  socket.on('error', (error) =>
    reject(limit.aborted && !signal.aborted ? new NoAnswerError(`no answer within ${WITHIN_MS} ms`) : error),
  )
  socket.on('close', () => reject(new Error(`${address.host}:${address.port} closed the connection without an answer`)))
  return promise.finally(() => socket.destroy())
}
