import { memoryCursors, memoryLog, run, type Source } from 'reflex-bridge'
import { expect, test } from 'vitest'

const handle = (): void => {}
const good = { name: 'mine', handle }

test.each([
  ['a consumer without a name', { consumer: { handle } }, 'needs a name'],
  ['a consumer with an empty name', { consumer: { ...good, name: '' } }, 'needs a name'],
  ['a consumer without a handler', { consumer: { name: 'mine' } }, 'needs a function handle'],
  ['a source instead of its stream', { stream: memoryLog().source }, 'give source.stream'],
  ['types that are text', { consumer: { ...good, types: ['1'] } }, 'types must be 32-bit integers, but found "1"'],
  ['types that are no integers', { consumer: { ...good, types: [1, 1.5] } }, 'types must be 32-bit integers'],
  ['types that exceed 32 bits', { consumer: { ...good, types: [2 ** 31] } }, 'types must be 32-bit integers'],
] as const)('%s is refused, handles nothing and is not retried', async (_, wrong, message) => {
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' })
  const cursors = memoryCursors()
  const spec = { stream: log.source.stream, cursors, consumer: good, ...wrong }
  await expect(run(spec as never, { toHead: true })).rejects.toMatchObject({
    code: 'OPTION_INVALID',
    retriable: false,
    message: expect.stringContaining(message),
  })
  expect(await cursors.list?.()).toEqual(new Map())
})

test('an id that is none is refused by a memory log', async () => {
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a' })
  for (const wrong of ['abc', '', '-1', '1.5']) {
    expect(() => log.trim(wrong)).toThrow('expected the id of an event')
    expect(() => log.rewind(wrong)).toThrow('expected the id of an event')
  }
  const { head } = log.source satisfies Source
  expect(await head?.()).toBe('1')
})
