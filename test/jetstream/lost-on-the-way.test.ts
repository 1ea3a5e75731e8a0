import { describe, expect, test } from 'vitest'
import { jetstreamSource } from '../../src/adapters/jetstream/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { type Answer, fakeNats, type OnPull, refusal, streamOf } from './fake-nats.ts'

/** A stream with the messages 1 to `last`, of one subject. */
const messages =
  (last: number): Answer =>
  (what, { seq }) => {
    if (what === 'STREAM.INFO.log') return streamOf(last)
    return Number(seq) <= last ? { message: { seq, subject: 'log.a' } } : refusal(10037)
  }

const source = (version: string, onPull: OnPull, last = 5) =>
  jetstreamSource({ connect: fakeNats(version, messages(last), onPull), stream: 'log' })

/** Message n was stored at second n. */
const second = (n: number): number => n * 1000

describe('at', () => {
  test('takes a silence for no end, and asks again from where it was', async () => {
    let asked = 0
    const silentTwice: OnPull = ({ from }) => (++asked <= 2 ? [] : [from])
    expect(await source('2.15.0', silentTwice).at?.(second(1))).toBe('0')
    asked = 0
    expect(await source('2.15.0', ({ from }) => (++asked % 2 === 0 ? [] : [from])).at?.(second(4))).toBe('3')
    expect(await source('2.15.0', ({ from }) => [from]).at?.(second(9))).toBe('5')
  })

  test('ends where the stream has a message that is never delivered', async () => {
    const error = await errorOf(source('2.15.0', () => []).at?.(second(1)) ?? Promise.resolve())
    expect(codeOf(error)).toBe('NATS_CONSUMER_STALLED')
    expect(String(error)).toContain('message 1,')
  })

  test('is not led past messages by a consumer that jumps, as older ones do', async () => {
    let jumped = false
    const jumpsOnce: OnPull = ({ from }) => {
      if (jumped || from < 2) return [from]
      jumped = true
      return [from + 2]
    }
    expect(await source('2.10.0', jumpsOnce).at?.(second(3))).toBe('2')
    const error = await errorOf(source('2.10.0', ({ from }) => [from + 1]).at?.(second(1)) ?? Promise.resolve())
    expect(codeOf(error)).toBe('NATS_CONSUMER_STALLED')
  })
})

describe('a stream whose consumer jumps, as older ones do', () => {
  test('has what came before the jump, and then what was jumped over', async () => {
    let jumped = false
    const jumpsOnce: OnPull = ({ from }) => {
      if (jumped) return [from]
      jumped = true
      return [1, 2, 5]
    }
    await using all = reader(await source('2.10.0', jumpsOnce).stream('', { toHead: true }))
    expect((await all.batch()).events.map(({ id }) => id)).toEqual(['1', '2'])
    expect((await all.rest()).map(({ id }) => id)).toEqual(['3', '4', '5'])
  })

  test('ends where it jumps again and again, with what came before', async () => {
    const never3: OnPull = ({ from }) => (from === 3 ? [4] : [from])
    await using all = reader(await source('2.10.0', never3).stream('', { toHead: true }))
    expect((await all.take(2)).map(({ id }) => id)).toEqual(['1', '2'])
    const error = await errorOf(all.rest())
    expect(codeOf(error)).toBe('NATS_CONSUMER_STALLED')
    expect(String(error)).toContain('message 3,')
  })
})
