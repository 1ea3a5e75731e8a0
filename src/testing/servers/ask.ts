import { connect } from 'node:net'
import type { Address } from './server.ts'

/**
 * Connects, sends `request` and resolves with the first defined value `reply` makes of all bytes received so far.
 * Rejects where the connection fails or ends, where `reply` throws, and after one second.
 */
export function ask<T>(
  address: Address,
  request: string | Uint8Array,
  reply: (received: Buffer) => T | undefined,
  signal: AbortSignal,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  let received = Buffer.alloc(0)
  const socket = connect({
    host: address.host,
    port: address.port,
    signal: AbortSignal.any([signal, AbortSignal.timeout(1000)]),
  })
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
  socket.on('error', reject)
  socket.on('close', () => reject(new Error(`${address.host}:${address.port} closed the connection without an answer`)))
  return promise.finally(() => socket.destroy())
}
