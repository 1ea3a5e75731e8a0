/**
 * A reply. Strings are bytes, numbers of every kind are text, a boolean is `1` or `0`, a map is a flat array of keys and values:
 * the same of RESP 2 and of RESP 3. An error reply is an `Error`, also where it stands inside of an array.
 */
export type Reply = Buffer | string | null | Error | Reply[]

/** The most bytes of a string, and elements of an array, that are believed: an entry of a stream is below 1 GiB. */
const MAX_LENGTH = 2 ** 30
/** The most bytes of a line: a number, a status or an error. */
const MAX_LINE = 64 * 1024
const MAX_DEPTH = 128

const CR = 13
const LF = 10
const ZERO = 48
const BULK = 36 // $
const BULK_ERROR = 33 // !
const VERBATIM = 61 // =
const ARRAY = 42 // *
const MAP = 37 // %
const SET = 126 // ~
const PUSH = 62 // >
const COLON = 58

/** The types whose value stands on a line, by their first byte. */
const lineTypes: Readonly<Record<number, (line: Buffer) => Reply>> = {
  43: (line) => line, // +
  45: (line) => new Error(line.toString()), // -
  58: (line) => matching(/^[+-]?\d+$/, line), // :
  40: (line) => matching(/^[+-]?\d+$/, line), // (
  44: (line) => matching(/^(?:[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|inf)|nan)$/, line), // ,
  35: (line) => (matching(/^[tf]$/, line) === 't' ? '1' : '0'), // #
  95: (line) => matching(/^$/, line) || null, // _
}

const types: ReadonlySet<number> = new Set([
  ...[BULK, BULK_ERROR, VERBATIM, ARRAY, MAP, SET, PUSH],
  ...Object.keys(lineTypes).map(Number),
])

/** An array whose elements have not all come. */
interface OpenArray {
  readonly items: Reply[]
  readonly length: number
  readonly isPush: boolean
}

/** A string that has come in part. */
interface OpenString {
  readonly type: number
  /** With the end of line behind it. */
  readonly bytes: Buffer
  filled: number
}

/**
 * Decodes what a server sends, RESP 2 or 3, in whatever pieces it comes: the function that is returned takes the next piece, and
 * `onReply` gets each reply as soon as it is complete. Push messages are passed over.
 *
 * Strings are views of the piece that they came in, which they keep alive (a socket's has 64 KiB at most); one that was cut is a
 * copy. Throws on what is not RESP, and on lengths that cannot be meant; it must not be called again then.
 */
export function decodeReplies(onReply: (reply: Reply) => void): (piece: Buffer) => void {
  /** The innermost array, and those around it from the outermost on. */
  let top: OpenArray | undefined
  const around: OpenArray[] = []
  /** The pieces of a line that has come in part. */
  let line: Buffer[] = []
  let lineBytes = 0
  let string: OpenString | undefined

  function add(value: Reply): void {
    let done = value
    while (top !== undefined) {
      const { items, length, isPush } = top
      items.push(done)
      if (items.length < length) return
      top = around.pop()
      if (isPush) return
      done = items
    }
    onReply(done)
  }

  function openArray(type: number, length: number): void {
    const isPush = type === PUSH
    if (isPush && top !== undefined) throw malformed('a push message inside of a reply', Buffer.of(type))
    if (length <= 0) {
      if (!isPush) add(length < 0 ? null : [])
      return
    }
    if (around.length === MAX_DEPTH)
      throw malformed(`more than ${MAX_DEPTH} arrays inside of each other`, Buffer.of(type))
    if (top !== undefined) around.push(top)
    top = { items: [], length: type === MAP ? 2 * length : length, isPush }
  }

  function keepLine(part: Buffer): void {
    lineBytes += part.length
    if (lineBytes > MAX_LINE) throw tooLong(line[0] ?? part)
    line.push(part)
  }

  /** Goes on with the line that was kept; returns where it ends in the piece. */
  function endLine(piece: Buffer): number {
    const end = piece.indexOf(LF) + 1 || piece.length
    keepLine(piece.subarray(0, end))
    if (piece[end - 1] === LF) {
      const whole = Buffer.concat(line, lineBytes)
      line = []
      lineBytes = 0
      decode(whole, 0)
    }
    return end
  }

  /** Goes on with the string that was kept; returns where it ends in the piece. */
  function fill(open: OpenString, piece: Buffer, from: number): number {
    const copied = piece.copy(open.bytes, open.filled, from)
    open.filled += copied
    if (open.filled === open.bytes.length) {
      string = undefined
      add(stringOf(open.type, open.bytes, 0, open.bytes.length - 2))
    }
    return from + copied
  }

  /** Decodes values from `from` on; keeps the one that is not complete. */
  function decode(piece: Buffer, from: number): void {
    for (let at = from; at < piece.length; ) {
      const type = piece[at] as number
      const end = lineEnd(piece, at)
      if (end < 0) {
        if (!types.has(type)) throw malformed('no type of a value', piece.subarray(at))
        keepLine(piece.subarray(at))
        return
      }
      let next = end + 2
      switch (type) {
        case BULK:
        case BULK_ERROR:
        case VERBATIM: {
          const length = lengthOf(piece, at, end)
          if (length < 0) {
            add(null)
            break
          }
          const stop = next + length
          if (stop + 2 > piece.length) {
            string = { type, bytes: Buffer.allocUnsafeSlow(length + 2), filled: 0 }
            fill(string, piece, next)
            return
          }
          add(stringOf(type, piece, next, stop))
          next = stop + 2
          break
        }
        case ARRAY:
        case MAP:
        case SET:
        case PUSH:
          openArray(type, lengthOf(piece, at, end))
          break
        default: {
          const read = lineTypes[type]
          if (read === undefined) throw malformed('no type of a value', piece.subarray(at))
          add(read(piece.subarray(at + 1, end)))
        }
      }
      at = next
    }
  }

  return (piece) => {
    let at = line.length > 0 ? endLine(piece) : 0
    if (string !== undefined) at = fill(string, piece, at)
    decode(piece, at)
  }
}

/** Where the end of the line that begins at `from` begins; -1 if it has not come yet. */
function lineEnd(piece: Buffer, from: number): number {
  let at = from + 1
  while (at < piece.length && piece[at] !== LF) at++
  if (at - from >= MAX_LINE) throw tooLong(piece.subarray(from))
  if (at >= piece.length) return -1
  if (piece[at - 1] === CR) return at - 1
  throw malformed('a line that does not end in CR LF', piece.subarray(from))
}

/** The length that stands behind the type at `from`; -1 is a null, which only RESP 2 has here. */
function lengthOf(piece: Buffer, from: number, end: number): number {
  let length = 0
  for (let at = from + 1; at < end; at++) {
    const digit = (piece[at] as number) - ZERO
    if (digit < 0 || digit > 9) return nullOf(piece.subarray(from, end))
    length = length * 10 + digit
  }
  if (end === from + 1 || length > MAX_LENGTH)
    throw malformed(`no length up to ${MAX_LENGTH}`, piece.subarray(from, end))
  return length
}

function nullOf(header: Buffer): -1 {
  if (!/^[$*]-1$/.test(header.toString('latin1'))) throw malformed('no length', header)
  return -1
}

/** The string between `start` and `end`, behind which the end of its line must stand. */
function stringOf(type: number, piece: Buffer, start: number, end: number): Buffer | Error {
  if (piece[end] !== CR || piece[end + 1] !== LF)
    throw malformed('a string without an end', piece.subarray(end, end + 2))
  const bytes = piece.subarray(start, end)
  if (type === BULK) return bytes
  if (type === BULK_ERROR) return new Error(bytes.toString())
  if (bytes[3] !== COLON) throw malformed('a text without a format', bytes)
  return bytes.subarray(4)
}

function matching(pattern: RegExp, line: Buffer): string {
  const text = line.toString('latin1')
  if (!pattern.test(text)) throw malformed('no value of its type', line)
  return text
}

function tooLong(line: Buffer): Error {
  return malformed(`a line of more than ${MAX_LINE} bytes`, line)
}

function malformed(what: string, found: Buffer): Error {
  return new Error(
    `the server's reply is not in Redis's protocol: ${what}, ${JSON.stringify(found.toString('latin1', 0, 20))}`,
  )
}
