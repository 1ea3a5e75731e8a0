import type { IncomingMessage } from 'node:http'
import { Refusal } from './refusal.ts'

/** The body of a request as text. Throws a `Refusal` for one that is longer than `most` bytes, of which no more is then read. */
export async function readBody(request: IncomingMessage, most: number): Promise<string> {
  const tooLong = (): Refusal => new Refusal(413, `expected at most ${most} bytes, found more`)
  if (Number(request.headers['content-length'] ?? 0) > most) throw tooLong()
  const parts: Buffer[] = []
  let length = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    length += part.length
    if (length > most) throw tooLong()
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}
