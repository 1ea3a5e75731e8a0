import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { CursorStore } from '../../src/core/cursor.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Cursor } from '../../src/core/event.ts'
import { errorOf } from './reader.ts'

/** A fresh, empty store. */
export interface CursorStoreFixture extends AsyncDisposable {
  readonly cursors: CursorStore
  /** A second client of the same data; ends with the fixture. */
  another(): Promise<CursorStore>
}

/** Registers the tests that every cursor store passes; `create` is called once per test. */
export function cursorStoreSuite(name: string, create: () => Promise<CursorStoreFixture>): void {
  async function fixture(): Promise<CursorStoreFixture> {
    const made = await create()
    onTestFinished(() => made[Symbol.asyncDispose]())
    return made
  }

  describe(`cursor store ${name}`, () => {
    test('has "" for a consumer it does not know', async () => {
      const { cursors } = await fixture()
      expect(await cursors.get('nobody')).toBe('')
    })

    test('keeps what was set over what was expected, for every client', async () => {
      const { cursors, another } = await fixture()
      const other = await another()
      await cursors.set('a', '5', '')
      expect(await other.get('a')).toBe('5')
      await other.set('a', '17', '5')
      expect(await cursors.get('a')).toBe('17')
      await cursors.set('a', '3', '17') // compare-and-set, no order: a cursor is opaque
      expect(await other.get('a')).toBe('3')
    })

    test('keeps consumers apart', async () => {
      const { cursors } = await fixture()
      await cursors.set('a', '1', '')
      await cursors.set('b', '2', '')
      expect([await cursors.get('a'), await cursors.get('b')]).toEqual(['1', '2'])
      await cursors.set('b', '3', '2')
      expect([await cursors.get('a'), await cursors.get('b')]).toEqual(['1', '3'])
    })

    test('refuses to overwrite what was not expected, says what is there, and leaves it', async () => {
      const { cursors, another } = await fixture()
      await cursors.set('a', '5', '')
      for (const store of [cursors, await another()]) {
        for (const expected of ['', '4', '6', '05', '5 ']) {
          const error = await errorOf(store.set('a', '9', expected))
          expect(codeOf(error)).toBe('CURSOR_CONFLICT')
          expect(error).toMatchObject({ consumer: 'a', expected, actual: '5', reset: false })
        }
        expect(await store.get('a')).toBe('5')
      }
      expect(await errorOf(cursors.set('new', '9', '5'))).toMatchObject({
        code: 'CURSOR_CONFLICT',
        expected: '5',
        actual: '',
        reset: false,
      })
      expect(await cursors.get('new')).toBe('')
    })

    test('setting what is there already is success, whatever was expected', async () => {
      const { cursors } = await fixture()
      await cursors.set('a', '5', '')
      for (const expected of ['', '4', '5', 'x']) await cursors.set('a', '5', expected)
      expect(await cursors.get('a')).toBe('5')
    })

    test('a reset overwrites, and is told to the runner that did not expect it until the next set', async () => {
      const { cursors, another } = await fixture()
      const operator = await another()
      await cursors.set('a', '5', '')
      await operator.reset('a', '2')
      expect(await cursors.get('a')).toBe('2')
      for (let times = 0; times < 2; times++) {
        expect(await errorOf(cursors.set('a', '6', '5'))).toMatchObject({
          code: 'CURSOR_CONFLICT',
          expected: '5',
          actual: '2',
          reset: true,
        })
      }
      await cursors.set('a', '3', '2')
      expect(await errorOf(cursors.set('a', '6', '5'))).toMatchObject({ actual: '3', reset: false })
    })

    test('setting what was reset to clears the reset', async () => {
      const { cursors } = await fixture()
      await cursors.reset('a', '2')
      await cursors.set('a', '2', '1')
      expect(await errorOf(cursors.set('a', '6', '5'))).toMatchObject({ actual: '2', reset: false })
    })

    test('a reset works on a consumer that is not known, and back to ""', async () => {
      const { cursors } = await fixture()
      await cursors.reset('a', '7')
      expect(await cursors.get('a')).toBe('7')
      await cursors.reset('a', '')
      expect(await cursors.get('a')).toBe('')
      expect(await errorOf(cursors.set('a', '8', '7'))).toMatchObject({
        code: 'CURSOR_CONFLICT',
        expected: '7',
        actual: '',
        reset: true,
      })
      await cursors.set('a', '1', '')
      expect(await cursors.get('a')).toBe('1')
    })

    test('lists what is stored', async ({ skip }) => {
      const { cursors } = await fixture()
      if (cursors.list === undefined) skip('no list')
      const { list } = cursors as Required<CursorStore>
      expect(await list()).toEqual(new Map())
      await cursors.set('a', '1', '')
      await cursors.set('b:c', '2', '')
      await cursors.reset('ключ', '3')
      await cursors.set('a', '4', '1')
      expect(await list()).toEqual(
        new Map([
          ['a', '4'],
          ['b:c', '2'],
          ['ключ', '3'],
        ]),
      )
    })

    test('of 100 writers at once, exactly one wins', async () => {
      const { cursors, another } = await fixture()
      const other = await another()
      await race(await race(''))

      async function race(expected: Cursor): Promise<Cursor> {
        const wanted = Array.from({ length: 100 }, (_, i) => `${expected}w${i}`)
        const outcomes = await Promise.allSettled(
          wanted.map((cursor, i) => (i % 2 === 0 ? cursors : other).set('a', cursor, expected)),
        )
        const won = wanted.filter((_, i) => outcomes[i]?.status === 'fulfilled')
        expect(won).toHaveLength(1)
        expect(await cursors.get('a')).toBe(won[0])
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected')
            expect(outcome.reason).toMatchObject({ code: 'CURSOR_CONFLICT', actual: won[0] })
        }
        return won[0] as Cursor
      }
    })

    test('names are told apart to the last character', async () => {
      const { cursors } = await fixture()
      const names = [
        'a',
        'A',
        'a ',
        'á',
        'a\u0301',
        'ss',
        'ß',
        'ключ',
        '🪵',
        'a/b',
        'a:b',
        'a.b',
        'a*',
        'a>',
        "a'b",
        'a"b',
        'a\\b',
        'a%b',
        'a%20b',
        'a_b',
        'a\nb',
        '{a}',
        'x'.repeat(200),
      ]
      for (const [i, each] of names.entries()) await cursors.set(each, String(i + 1), '')
      for (const [i, each] of names.entries()) expect([each, await cursors.get(each)]).toEqual([each, String(i + 1)])
      if (cursors.list !== undefined) expect(new Set((await cursors.list()).keys())).toEqual(new Set(names))
    })

    test('cursors are kept to the last character, and may be long', async () => {
      const { cursors } = await fixture()
      const values = [
        '1700000000000-0@abc',
        '{"cursor":"7@x","mark":"8"}',
        'A',
        'a',
        'a ',
        'ключ 🪵',
        `'"\\%_\n\t`,
        '00',
        '0',
        '-1',
        '9'.repeat(1000),
      ]
      let expected = ''
      for (const value of values) {
        await cursors.set('a', value, expected)
        expect(await cursors.get('a')).toBe(value)
        expected = value
      }
    })

    test('does as the model does, whatever two clients call', async () => {
      const { cursors, another } = await fixture()
      const clients = [cursors, await another()]
      const cursor = fc.constantFrom('', '1', '2', '3')
      const call = fc.record({
        client: fc.nat({ max: 1 }),
        consumer: fc.constantFrom('p', 'q'),
        op: fc.constantFrom('set', 'set', 'set', 'reset', 'get'),
        cursor,
        expected: cursor,
      })
      let runs = 0
      await fc.assert(
        fc.asyncProperty(fc.array(call, { maxLength: 12 }), async (calls) => {
          const prefix = `${runs++}-`
          const model = new Map<string, { cursor: Cursor; reset: boolean }>()
          for (const { client, consumer, op, cursor, expected } of calls) {
            const store = clients[client] as CursorStore
            const who = prefix + consumer
            const there = model.get(who) ?? { cursor: '', reset: false }
            if (op === 'get') expect(await store.get(who)).toBe(there.cursor)
            else if (op === 'reset') {
              await store.reset(who, cursor)
              model.set(who, { cursor, reset: true })
            } else if (there.cursor === expected || there.cursor === cursor) {
              await store.set(who, cursor, expected)
              model.set(who, { cursor, reset: false })
            } else {
              expect(await errorOf(store.set(who, cursor, expected))).toMatchObject({
                code: 'CURSOR_CONFLICT',
                actual: there.cursor,
                reset: there.reset,
              })
            }
          }
          for (const [who, { cursor }] of model) expect(await cursors.get(who)).toBe(cursor)
        }),
        { numRuns: 25 },
      )
    })

    test('a get whose signal has aborted rejects with the reason', async () => {
      const { cursors } = await fixture()
      const reason = new Error('enough')
      expect(await errorOf(cursors.get('a', { signal: AbortSignal.abort(reason) }))).toBe(reason)
    })
  })
}
