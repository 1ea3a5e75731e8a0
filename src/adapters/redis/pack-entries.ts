import { ReflexError } from '../../core/errors.ts'
import type { EntryArguments } from './codec.ts'

/** A server takes no argument above a limit that is 1 MB at least: several entries stay well below. */
const PACKAGE_BYTES = 256 * 1024
/** Lua calls a command with at most about 8,000 arguments. */
const MAX_ARGUMENTS = 7500
/** XADD refuses an entry as large as this, whatever the limit of the server is. */
const MAX_ENTRY_BYTES = 2 ** 30 - 1

/** Where a package is made; every one is copied from here, in its own size. */
let scratch: Buffer | undefined

/**
 * Entries as MessagePack, in arrays of about 256 KiB that a script unpacks with `cmsgpack`: one argument per package is
 * several times cheaper for client and server than one per field. Each entry is written when it comes, and none is kept. Throws on an
 * entry that XADD could not take, since a script that fails in the middle leaves what it has done, and on one of more than
 * `argumentBytes`, which the server takes at most.
 */
export function packEntries(entries: Iterable<EntryArguments>, argumentBytes: number): Buffer[] {
  const limit = Math.min(MAX_ENTRY_BYTES, argumentBytes)
  scratch ??= Buffer.allocUnsafeSlow(PACKAGE_BYTES)
  const packages: Buffer[] = []
  let count = 0 // of the entries in it
  let end = ARRAY_HEADER
  const close = (buffer: Buffer): void => {
    writeHeader(buffer, 0, 0xdd, count)
    packages.push(buffer === scratch ? Buffer.from(buffer.subarray(0, end)) : buffer.subarray(0, end))
    count = 0
    end = ARRAY_HEADER
  }
  for (const entry of entries) {
    const size = sizeOf(entry, limit)
    if (count > 0 && end + size > PACKAGE_BYTES) close(scratch)
    const isLarge = end + size > PACKAGE_BYTES
    const buffer = isLarge ? Buffer.allocUnsafe(ARRAY_HEADER + size) : scratch
    end = writeEntry(buffer, end, entry)
    count++
    if (isLarge) close(buffer)
  }
  if (count > 0) close(scratch)
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

function writeEntry(buffer: Buffer, start: number, entry: EntryArguments): number {
  let at = writeHeader(buffer, start, 0xdd, entry.length)
  for (const part of entry) {
    const from = at + STRING_HEADER
    const length = typeof part === 'string' ? buffer.write(part, from) : part.length
    if (typeof part !== 'string') buffer.set(part, from)
    writeHeader(buffer, at, 0xdb, length)
    at = from + length
  }
  return at
}

/** `array 32` or `str 32` of the MessagePack specification. */
function writeHeader(buffer: Buffer, at: number, kind: 0xdd | 0xdb, length: number): number {
  buffer[at] = kind
  return buffer.writeUInt32BE(length, at + 1)
}
