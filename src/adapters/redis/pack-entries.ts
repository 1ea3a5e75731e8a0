import { ReflexError } from '../../core/errors.ts'
import type { EntryArguments } from './codec.ts'

/** A server takes no argument above proto-max-bulk-len, which is 1 MB at least: several entries stay well below. */
const PACKAGE_BYTES = 256 * 1024
/** Lua calls a command with at most about 8,000 arguments. */
const MAX_ARGUMENTS = 7500
/** XADD refuses an entry as large as this, whatever proto-max-bulk-len is. */
const MAX_ENTRY_BYTES = 2 ** 30

/**
 * Entries as MessagePack, in arrays of about 256 KiB that a script unpacks with `cmsgpack`: one argument per package is
 * several times cheaper for client and server than one per field. Throws on an entry that XADD could not take, since a
 * script that fails in the middle leaves what it has done.
 */
export function packEntries(entries: readonly EntryArguments[]): Buffer[] {
  const packages: Buffer[] = []
  for (let from = 0; from < entries.length; ) {
    let bytes = ARRAY_HEADER
    let to = from
    for (; to < entries.length; to++) {
      const size = sizeOf(entries[to] as EntryArguments)
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

/** An upper bound. */
function sizeOf(entry: EntryArguments): number {
  let bytes = ARRAY_HEADER
  for (const part of entry) bytes += STRING_HEADER + (typeof part === 'string' ? Buffer.byteLength(part) : part.length)
  if (entry.length <= MAX_ARGUMENTS && bytes < MAX_ENTRY_BYTES) return bytes
  throw new ReflexError(
    'EVENT_UNENCODABLE',
    `an event with ${(entry.length - 1) / 2} fields and ${bytes} bytes cannot be an entry: at most ${(MAX_ARGUMENTS - 1) / 2} fields and ${MAX_ENTRY_BYTES} bytes are possible; shorten its headers or its payload`,
    { retriable: false },
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
