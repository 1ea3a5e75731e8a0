import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  compareOffsets,
  formatHistory,
  HistoryError,
  type HistoryOperation,
  parseHistory,
} from '../../../src/testing/history/index.ts'

const send = '{"kind":"send","process":"p","outcome":"ok","records":[{"partition":"t","value":1,"offset":"0"}]}'

describe('parseHistory', () => {
  it('reads one operation a line, and skips blank ones', () => {
    const history: HistoryOperation[] = [
      { kind: 'send', process: 'p', outcome: 'ok', records: [{ partition: 't', value: 1, offset: '0' }] },
      { kind: 'send', process: 'p', outcome: 'unknown', transaction: 'x', records: [{ partition: 't', value: 'ä\n' }] },
      { kind: 'commit', process: 'p', outcome: 'unknown', transaction: 'x' },
      { kind: 'abort', process: 'p', outcome: 'failed', transaction: 'x' },
      { kind: 'assign', process: 'c', outcome: 'ok', partition: 't', after: '' },
      { kind: 'assign', process: 'c', outcome: 'ok', partition: 't', after: '1700000000000-3' },
      { kind: 'assign', process: 'c', outcome: 'ok', partition: 't' },
      { kind: 'poll', process: 'c', outcome: 'failed', records: [] },
    ]
    expect(formatHistory(history).split('\n')[0]).toBe(
      '{"kind":"send","process":"p","outcome":"ok","records":[{"partition":"t","value":1,"offset":"0"}]}',
    )
    expect(parseHistory(formatHistory(history))).toEqual(history)
    expect(parseHistory(`\r\n${formatHistory(history).replaceAll('\n', '\r\n\n')}`)).toEqual(history)
    expect(parseHistory('')).toEqual([])
  })

  const records = (record: string, outcome = 'ok', kind = 'send'): string =>
    `{"kind":"${kind}","process":"p","outcome":"${outcome}","records":[${record}]}`
  const offset = '"offset" to be a string of decimal numbers, "42" or "1700000000000-3"'
  it.each([
    ['{"kind":', 'an operation as JSON, but found "{\\"kind\\":"'],
    ['[]', 'an operation, which is an object, but found []'],
    ['null', 'an operation, which is an object, but found null'],
    ['{}', '"kind" to be "send", "poll", "assign", "commit" or "abort", but found nothing'],
    ['{"kind":"toString"}', '"kind" to be "send", "poll", "assign", "commit" or "abort", but found "toString"'],
    [
      '{"kind":"commit","process":"p","outcome":"ok","transaction":"x","tx":1}',
      'the fields of commit to be kind, process, outcome, transaction, but found "tx"',
    ],
    ['{"kind":"send","process":7}', '"process" to be a string, but found 7'],
    ['{"kind":"send","process":"p","outcome":"info"}', '"outcome" to be "ok", "failed" or "unknown", but found "info"'],
    ['{"kind":"commit","process":"p","outcome":"ok"}', '"transaction" to be a string, but found nothing'],
    [
      '{"kind":"send","process":"p","outcome":"ok","transaction":1}',
      '"transaction" to be a string, or to be left out, but found 1',
    ],
    ['{"kind":"assign","process":"p","outcome":"ok"}', '"partition" to be a string, but found nothing'],
    [
      '{"kind":"assign","process":"p","outcome":"ok","partition":"t","after":"head"}',
      '"after" to be "" for the beginning, or a string of decimal numbers, "42" or "1700000000000-3", but found "head"',
    ],
    ['{"kind":"send","process":"p","outcome":"ok"}', '"records" to be an array, but found nothing'],
    [records('1'), 'a record, which is an object, but found 1'],
    [
      records('{"partition":"t","value":1,"ofset":"0"}'),
      'the fields of a record to be partition, value, offset, but found "ofset"',
    ],
    [records('{"value":1}'), '"partition" to be a string, but found nothing'],
    [records('{"partition":"t"}'), '"value" to be a string or a safe integer, but found nothing'],
    [
      records('{"partition":"t","value":9007199254740993}'),
      '"value" to be a string or a safe integer, but found 9007199254740992',
    ],
    [records('{"partition":"t","value":1,"offset":7}'), `${offset}, but found 7`],
    [records('{"partition":"t","value":1,"offset":"07"}'), `${offset}, but found "07"`],
    [records('{"partition":"t","value":1,"offset":""}'), `${offset}, but found ""`],
    [records('{"partition":"t","value":1}', 'ok', 'poll'), `${offset}, but found nothing`],
    [
      records('{"partition":"t","value":1,"offset":"7"}', 'unknown'),
      'no "offset", since the send\'s outcome is unknown, but found "7"',
    ],
    [
      records('{"partition":"t","value":1,"offset":"7"}', 'failed', 'poll'),
      '"records" to be empty, since the poll\'s outcome is failed, but found [{"partition":"t","value":1,"offset":"7"}]',
    ],
  ])('refuses %s', (line, message) => {
    const text = `${send}\n\n${line}\n${send}`
    expect(() => parseHistory(text)).toThrow(HistoryError)
    expect(() => parseHistory(text)).toThrow(`line 3: expected ${message}`)
  })

  it('says where, in a short message, with the cause', () => {
    const error = (() => {
      try {
        return parseHistory(`${send}\n{"kind": "${'x'.repeat(200)}`)
      } catch (error) {
        return error
      }
    })() as HistoryError
    expect([error.code, error.retriable, error.unit, error.at]).toEqual(['HISTORY_INVALID', false, 'line', 2])
    expect(error.cause).toBeInstanceOf(SyntaxError)
    expect(error.message.length).toBeLessThan(150)
  })
})

describe('compareOffsets', () => {
  const part = fc.oneof(fc.bigInt({ min: 0n, max: 12n }), fc.bigInt({ min: 0n, max: 2n ** 70n }))

  it('compares as numbers of any size, part by part', () => {
    const compare = (a: readonly bigint[], b: readonly bigint[]): number => {
      for (let i = 0; i < Math.max(a.length, b.length); i++) {
        const [x = -1n, y = -1n] = [a[i], b[i]]
        if (x !== y) return x < y ? -1 : 1
      }
      return 0
    }
    const parts = fc.array(part, { minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(parts, parts, (a, b) => {
        expect(Math.sign(compareOffsets(a.join('-'), b.join('-')))).toBe(compare(a, b))
        expect(Math.sign(compareOffsets(a.join('-'), [...a.slice(0, -1), ...b].join('-')))).toBe(
          compare(a, [...a.slice(0, -1), ...b]),
        )
      }),
      { numRuns: 2000 },
    )
  })
})
