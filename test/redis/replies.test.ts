import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeReplies, type Reply } from '../../src/adapters/redis/protocol/decode-replies.ts'
import { encodeCommand } from '../../src/adapters/redis/protocol/encode-command.ts'

const line = (type: string, text: string): Buffer => Buffer.from(`${type}${text}\r\n`)
const string = (type: string, bytes: Buffer): Buffer =>
  Buffer.concat([line(type, String(bytes.length)), bytes, Buffer.from('\r\n')])
const array = (type: string, length: number, items: readonly Buffer[]): Buffer =>
  Buffer.concat([line(type, String(length)), ...items])

/** A reply as it is expected, and a way in which a server may write it. */
interface Written {
  readonly reply: Reply
  readonly bytes: Buffer
}

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((data) => Buffer.from(data)),
  fc.constantFrom('\r\n', '$-1\r\n', '*2\r\n', '').map((text) => Buffer.from(text)),
)
const status = fc.string({ unit: 'grapheme-ascii', maxLength: 20 })
const integer = fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String)
const double = fc.double().map((value) => String(value).replace('Infinity', 'inf').replace('NaN', 'nan'))
const leaf: fc.Arbitrary<Written> = fc.oneof(
  bytes.map((value) => ({ reply: value, bytes: string('$', value) })),
  bytes.map((value) => ({ reply: value, bytes: string('=', Buffer.concat([Buffer.from('txt:'), value])) })),
  status.map((text) => ({ reply: Buffer.from(text), bytes: line('+', text) })),
  status.map((text) => ({ reply: new Error(text), bytes: line('-', text) })),
  status.map((text) => ({ reply: new Error(text), bytes: string('!', Buffer.from(text)) })),
  fc.tuple(fc.constantFrom(':', '('), integer).map(([type, text]) => ({ reply: text, bytes: line(type, text) })),
  double.map((text) => ({ reply: text, bytes: line(',', text) })),
  fc.constantFrom<Written>(
    { reply: '1', bytes: line('#', 't') },
    { reply: '0', bytes: line('#', 'f') },
    ...['$-1', '*-1', '_'].map((text) => ({ reply: null, bytes: Buffer.from(`${text}\r\n`) })),
  ),
)
const tree = fc.letrec<{ reply: Written; items: Written[] }>((tie) => ({
  items: fc.array(tie('reply'), { maxLength: 6 }),
  reply: fc.oneof(
    { maxDepth: 5, withCrossShrink: true },
    leaf,
    fc.tuple(fc.constantFrom('*', '~', '%'), tie('items')).map(([type, all]) => {
      const items = type === '%' && all.length % 2 === 1 ? all.slice(1) : all
      const length = type === '%' ? items.length / 2 : items.length
      return {
        reply: items.map(({ reply }) => reply),
        bytes: array(
          type,
          length,
          items.map((item) => item.bytes),
        ),
      }
    }),
  ),
})).reply
const push = fc.array(leaf, { maxLength: 3 }).map((items) =>
  array(
    '>',
    items.length,
    items.map((item) => item.bytes),
  ),
)

/** Where bytes are cut: often in the middle of a line. */
const cuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 100 })), { maxLength: 200 })
function* cut(whole: Buffer, lengths: readonly number[]): Generator<Buffer> {
  let at = 0
  for (const length of lengths) {
    if (at >= whole.length) return
    yield Buffer.from(whole.subarray(at, at + length))
    at += length
  }
  yield Buffer.from(whole.subarray(at))
}

/** The replies in what a server has sent, and the error that ended them. */
function decodeAll(pieces: Iterable<Buffer>): { readonly replies: Reply[]; readonly error?: Error } {
  const replies: Reply[] = []
  const decode = decodeReplies((reply) => replies.push(reply))
  try {
    for (const piece of pieces) decode(piece)
    return { replies }
  } catch (error) {
    return { replies, error: error as Error }
  }
}

test('replies of any shape are what the server sent, however they are cut, with push messages between them', () => {
  const sent = fc.array(fc.tuple(tree, fc.option(push)), { maxLength: 5 })
  fc.assert(
    fc.property(sent, cuts, (all, lengths) => {
      const whole = Buffer.concat(
        all.flatMap(([{ bytes }, between]) => (between === null ? [bytes] : [bytes, between])),
      )
      const { replies, error } = decodeAll(cut(whole, lengths))
      expect(error).toBeUndefined()
      expect(replies).toEqual(all.map(([{ reply }]) => reply))
    }),
    { numRuns: 1000 },
  )
})

describe('what is not the protocol', () => {
  test.each([
    ['no type', 'HTTP/1.1 400 Bad Request\r\n\r\n'],
    ['no type, and no end of a line', '\x15\x03\x03\x00\x02\x02\x28'],
    ['a length that is none', '$1x\r\nab\r\n'],
    ['no length', '$\r\n\r\n'],
    ['a length below null', '*-2\r\n'],
    ['a null of a type that has none', '%-1\r\n'],
    ['more bytes than are believed', '$1073741825\r\n'],
    ['more elements than are believed', '*99999999999999999999999999\r\n'],
    ['a string that is longer than it says', '$3\r\nabcd\r\n'],
    ['a line that ends in LF alone', ':1\n'],
    ['a number that is none', ':1e3\r\n'],
    ['a double that is none', ',1,5\r\n'],
    ['a boolean that is none', '#1\r\n'],
    ['a null with something in it', '_0\r\n'],
    ['a text without a format', '=3\r\nabc\r\n'],
    ['a push message inside of a reply', '*1\r\n>1\r\n+a\r\n'],
    ['a line without an end', `+${'a'.repeat(70_000)}`],
    ['arrays inside of each other without an end', '*1\r\n'.repeat(1000)],
  ])('is an error that shows it: %s', (_, text) => {
    for (const lengths of [[], Array<number>(100).fill(1), Array<number>(100_000).fill(1)]) {
      const { replies, error } = decodeAll(cut(Buffer.from(text, 'latin1'), lengths))
      expect(replies).toEqual([])
      expect(error?.message).toContain("not in Redis's protocol")
      expect(error?.message.length).toBeLessThan(250)
    }
  })

  test('ends in the same error, after the same replies, however it is cut', () => {
    const changed = fc.tuple(fc.nat(), fc.nat({ max: 255 }))
    fc.assert(
      fc.property(fc.array(tree, { minLength: 1, maxLength: 4 }), changed, cuts, (all, [where, byte], lengths) => {
        const whole = Buffer.concat(all.map((each) => each.bytes))
        whole[where % whole.length] = byte
        const atOnce = decodeAll([whole])
        const inPieces = decodeAll(cut(whole, lengths))
        expect(inPieces.replies).toEqual(atOnce.replies)
        expect(inPieces.error === undefined).toBe(atOnce.error === undefined)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('50 MB in pieces of 16 KiB take time that grows with their length alone', () => {
  const SIZE = 50 * 1024 * 1024
  const inPieces = (whole: Buffer): Reply[] => {
    const started = performance.now()
    const { replies, error } = decodeAll(cut(whole, Array<number>(Math.ceil(whole.length / 16_384)).fill(16_384)))
    expect(error).toBeUndefined()
    expect(performance.now() - started).toBeLessThan(5000) // with a copy of all that came before, for each piece, it is a minute
    return replies
  }

  test('as one string', () => {
    const [reply] = inPieces(string('$', Buffer.alloc(SIZE, 'x')))
    expect((reply as Buffer).length).toBe(SIZE)
  })

  test('as one array of many strings', () => {
    const item = string('$', Buffer.alloc(100, 'x'))
    const count = Math.floor(SIZE / item.length)
    const [reply] = inPieces(Buffer.concat([line('*', String(count)), Buffer.alloc(count * item.length, item)]))
    expect((reply as Reply[]).length).toBe(count)
  })

  test('as lines, each of which is cut in many places', () => {
    const status = line('+', 'a'.repeat(60_000))
    const { replies } = decodeAll(cut(status, Array<number>(60_000).fill(1)))
    expect(replies).toEqual([status.subarray(1, -2)])
  })
})

test('a string keeps no more alive than the piece that it came in; one that was cut has bytes of its own', () => {
  const piece = Buffer.from(Buffer.concat([string('$', Buffer.alloc(6000, 'a')), line('$', '9000')]))
  const { replies } = decodeAll([piece, Buffer.concat([Buffer.alloc(9000, 'b'), Buffer.from('\r\n')])])
  const [whole, cutOne] = replies as [Buffer, Buffer]
  expect(whole.buffer).toBe(piece.buffer)
  expect(cutOne.buffer.byteLength).toBe(9002)
})

test('a command is an array of strings, whatever is in them; bytes are not copied', () => {
  const argument = fc.oneof(fc.string({ unit: 'binary' }), bytes)
  fc.assert(
    fc.property(fc.stringMatching(/^[A-Z]{1,9}$/), fc.array(argument, { maxLength: 8 }), (command, args) => {
      const parts = encodeCommand(command, args)
      expect(args.filter((arg) => Buffer.isBuffer(arg) && !parts.includes(arg))).toEqual([])
      const { replies } = decodeAll([Buffer.concat(parts.map((part) => Buffer.from(part as string)))])
      expect(replies).toEqual([[command, ...args].map((each) => Buffer.from(each as string))])
    }),
  )
})
