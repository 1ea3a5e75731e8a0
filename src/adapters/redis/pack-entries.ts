import { ReflexError } from '../../core/errors.ts'
import type { EntryArguments } from './codec.ts'

/** A server takes no argument above a limit that is 1 MB at least: several entries stay well below. */
const PACKAGE_BYTES = 256 * 1024
/** Lua calls a command with at most about 8,000 arguments. */
const MAX_ARGUMENTS = 7500
/** XADD refuses an entry as large as this, whatever the limit of the server is. */
const MAX_ENTRY_BYTES = 2 ** 30 - 1

/**
 * Entries as MessagePack, in arrays of about 256 KiB that a script unpacks with `cmsgpack`: one argument per package is
 * several times cheaper for client and server than one per field. Throws on an entry that XADD could not take, since a
 * script that fails in the middle leaves what it has done, and on one of more than `argumentBytes`, which the server takes at most.
 */
export function packEntries(entries: readonly EntryArguments[], argumentBytes: number): Buffer[] {
  const limit = Math.min(MAX_ENTRY_BYTES, argumentBytes)
  const packages: Buffer[] = []
  for (let from = 0; from < entries.length; ) {
    let bytes = ARRAY_HEADER
    let to = from
    for (; to < entries.length; to++) {
      const size = sizeOf(entries[to] as EntryArguments, limit)
      if (to > from && bytes + size > PACKAGE_BYTES) break
      bytes += size
    }
    packages.push(pack(entries.slice(from, to), bytes))
    from = to
  }
  return packages
}

const ARRAY_HEADER = 5
const STRING_HEADER = 5

function sizeOf(entry: EntryArguments, limit: number): number {
  let bytes = ARRAY_HEADER
  for (const part of entry) bytes += STRING_HEADER + (typeof part === 'string' ? Buffer.byteLength(part) : part.length)
  if (entry.length > MAX_ARGUMENTS) {
    throw new ReflexError(
      'EVENT_UNENCODABLE',
      `event ${entry[4]} with ${(entry.length - 1) / 2} fields cannot be an entry: at most ${(MAX_ARGUMENTS - 1) / 2} are possible; give it fewer headers`,
      { kind: 'poison', eventId: String(entry[4]) },
    )
  }
  if (ARRAY_HEADER + bytes <= limit) return bytes
  throw new ReflexError(
    'EVENT_TOO_LARGE',
    `event ${entry[4]}, which is ${ARRAY_HEADER + bytes} bytes as an entry, was not sent, since the server takes at most ${limit}: shorten its payload, or raise the server's proto-max-bulk-len and client-query-buffer-limit (below 1 GiB)`,
    { kind: 'oversize', eventId: String(entry[4]) },
  )
}

function pack(entries: readonly EntryArguments[], bytes: number): Buffer {
  const buffer = Buffer.allocUnsafe(bytes)
  let at = writeHeader(buffer, 0, 0xdd, entries.length)
  for (const entry of entries) {
    at = writeHeader(buffer, at, 0xdd, entry.length)
    for (const part of entry) {
      const start = at + STRING_HEADER
      const length = typeof part === 'string' ? buffer.write(part, start) : part.length
      if (typeof part !== 'string') buffer.set(part, start)
      writeHeader(buffer, at, 0xdb, length)
      at = start + length
    }
  }
  return buffer.subarray(0, at)
}

/** `array 32` or `str 32` of the MessagePack specification. */
function writeHeader(buffer: Buffer, at: number, kind: 0xdd | 0xdb, length: number): number {
  buffer[at] = kind
  return buffer.writeUInt32BE(length, at + 1)
}
