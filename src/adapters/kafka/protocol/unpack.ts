import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { messageOf, ReflexError } from '../../../core/errors.ts'
import { lz4Frame } from './lz4-frame.ts'

/** Undoes a compression. */
type Unpack = (bytes: Buffer) => Buffer

/** What a batch may come to: a producer of Kafka's makes batches of a few MiB at the most. */
const MAX_BYTES = 128 * 1024 * 1024

const limit = { maxOutputLength: MAX_BYTES }
const names = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const
const unpackers: (Unpack | undefined)[] = [
  (bytes) => bytes,
  (bytes) => gunzipSync(bytes, limit),
  undefined,
  undefined,
  (bytes) => zstdDecompressSync(bytes, limit),
]

/** What is not in Node: loaded only when the first batch of its kind comes. */
const packages: Readonly<Record<number, { readonly name: string; readonly load: () => Promise<Unpack> }>> = {
  2: {
    name: 'snappy',
    load: async () => {
      const { uncompressSync } = (await import('snappy')) as { readonly uncompressSync?: unknown }
      const unpackBlock = unpackFunction('uncompressSync', uncompressSync)
      return (bytes) => unpackSnappy(bytes, unpackBlock)
    },
  },
  3: {
    name: 'lz4-napi',
    load: async () => {
      const { decompressFrameSync } = (await import('lz4-napi')) as { readonly decompressFrameSync?: unknown }
      const unpackFrame = unpackFunction('decompressFrameSync', decompressFrameSync)
      return (bytes) => unpackFrame(lz4Frame(bytes, MAX_BYTES)) // which takes no limit by itself
    },
  },
}
const failures = new Map<number, unknown>()

/** A package of another version may not have it. */
function unpackFunction(name: string, found: unknown): Unpack {
  if (typeof found !== 'function') throw new TypeError(`expected its function ${name}, but found ${typeof found}`)
  return found as Unpack
}

/** What has to be awaited before a batch of this compression can be unpacked; undefined: nothing. Never rejects. */
export function unpackerOf(codec: number): Promise<void> | undefined {
  if (unpackers[codec] !== undefined) return undefined
  return packages[codec]?.load().then(
    (unpack) => {
      unpackers[codec] = unpack
    },
    (error: unknown) => void failures.set(codec, error),
  )
}

/** Undoes the compression of the batch at an offset. Throws a `ReflexError` with the offset, and what to install if that is it. */
export function unpack(codec: number, bytes: Buffer, baseOffset: bigint): Buffer {
  const unpacker = unpackers[codec]
  if (unpacker === undefined) throw unknownCodec(codec, baseOffset)
  try {
    return unpacker(bytes)
  } catch (cause) {
    throw new ReflexError(
      'KAFKA_CORRUPT_BATCH',
      `the batch at offset ${baseOffset} cannot be unpacked (${names[codec]}, at most ${MAX_BYTES} bytes): ${messageOf(cause)}. ` +
        'It is not skipped, since that would lose its records: find its producer, or reset the cursor to go on behind it',
      { cause, retriable: false },
    )
  }
}

function unknownCodec(codec: number, baseOffset: bigint): ReflexError {
  const name = packages[codec]?.name
  const what = `the batch at offset ${baseOffset} is compressed with ${names[codec] ?? `codec ${codec}`}`
  const cause = failures.get(codec)
  const install = `npm install ${name}`
  const why =
    name === undefined
      ? `${what}, but only ${names.slice(1).join(', ')} are read: set the producer's compression.type to one of them`
      : `${what}, for which the package ${name} is needed, but it cannot be loaded: ${cause === undefined ? install : `${install} (${messageOf(cause)})`}`
  return new ReflexError('KAFKA_COMPRESSION', why, { cause, retriable: false })
}

const XERIAL = Buffer.from('\x82SNAPPY\0', 'latin1')
const XERIAL_HEADER_BYTES = XERIAL.length + 8 // two versions

/** Java's clients write blocks, each behind its length; librdkafka writes one block without any frame. */
function unpackSnappy(bytes: Buffer, unpackBlock: Unpack): Buffer {
  let left = MAX_BYTES
  const block = (from: Buffer): Buffer => {
    left -= snappyLength(from)
    if (left < 0) throw new RangeError('it says that it is longer')
    return unpackBlock(from)
  }
  if (!bytes.subarray(0, XERIAL.length).equals(XERIAL)) return block(bytes)
  const blocks: Buffer[] = []
  for (let at = XERIAL_HEADER_BYTES; at < bytes.length; ) {
    const end = at + 4 + bytes.readInt32BE(at)
    if (end < at + 4 || end > bytes.length) throw new RangeError(`a block is said to end at ${end} of ${bytes.length}`)
    blocks.push(block(bytes.subarray(at + 4, end)))
    at = end
  }
  return Buffer.concat(blocks)
}

/** A block begins with the length of what was packed, a varint of 32 bits. */
function snappyLength(block: Buffer): number {
  let length = 0
  for (let i = 0; i < 5; i++) {
    const byte = block.readUInt8(i)
    length += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) return length
  }
  throw new RangeError('the length of a block has more than 5 bytes')
}
