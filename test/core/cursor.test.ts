import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  CursorAheadError,
  checkStreamOptions,
  codeOf,
  isRetriable,
  messageOf,
  positionIn,
  ReflexError,
  savedCursor,
} from '../../src/core/index.ts'

describe('saved cursors', () => {
  test('a position comes back from what was saved, whatever it looks like', () => {
    fc.assert(
      fc.property(
        fc.string({ minLength: 1 }),
        fc.string({ minLength: 1 }).filter((each) => !each.includes('@')),
        (position, incarnation) => {
          expect(positionIn('log', savedCursor(position, incarnation), incarnation)).toBe(position)
        },
      ),
    )
    expect(savedCursor('', 'abc')).toBe('')
    expect(savedCursor('7', undefined)).toBe('7')
    expect(positionIn('log', '7', 'abc')).toBe('7')
  })

  test('one of another incarnation is ahead, for the reason that the log was recreated', () => {
    expect(() => positionIn('orders', '7@old', 'new')).toThrow(CursorAheadError)
    expect(() => positionIn('orders', '7@old', 'new')).toThrow(/^orders: the cursor 7@old was saved for an earlier log/)
  })
})

describe('options of a stream', () => {
  test('fromHead with a cursor and types that are not integers are refused', () => {
    expect(() => checkStreamOptions('orders', '5', { fromHead: true })).toThrow(/^orders: fromHead needs the cursor ""/)
    expect(() => checkStreamOptions('orders', '', { types: [1, 2.5] })).toThrow(/found 2.5/)
    checkStreamOptions('orders', '', { fromHead: true, types: [] })
    checkStreamOptions('orders', '5', { fromHead: false })
  })
})

describe('errors', () => {
  test('are told apart by their code, of any copy of the package', () => {
    const other = Object.assign(new Error('of another copy'), { code: 'CURSOR_TRIMMED', retriable: false })
    expect([codeOf(other), isRetriable(other)]).toEqual(['CURSOR_TRIMMED', false])
    for (const foreign of [
      new Error('x'),
      Object.assign(new Error('x'), { code: 'ECONNRESET' }),
      'text',
      null,
      undefined,
      { code: 'A' },
    ]) {
      expect([codeOf(foreign), isRetriable(foreign)]).toEqual([undefined, true])
    }
    expect(isRetriable(new ReflexError('X', 'x'))).toBe(true)
  })

  test('carry a cause only if there is one', () => {
    expect('cause' in new ReflexError('X', 'x')).toBe(false)
    expect(new ReflexError('X', 'x', { cause: 0 }).cause).toBe(0)
    expect([messageOf(new Error('a')), messageOf('b'), messageOf(undefined)]).toEqual(['a', 'b', 'undefined'])
  })
})
