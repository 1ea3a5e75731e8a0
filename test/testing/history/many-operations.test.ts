import { describe, expect, it } from 'vitest'
import { checkHistory, formatHistory, type HistoryOperation, parseHistory } from '../../../src/testing/history/index.ts'

const count = 1_000_000

/** Half of the operations send, half poll, eight partitions, sixteen producers, a consumer each. */
function history(): HistoryOperation[] {
  const operations: HistoryOperation[] = []
  const next = new Array<number>(8).fill(0)
  const values = Array.from({ length: 8 }, (): string[] => [])
  for (let i = 0; i < count / 2; i++) {
    const records = [
      {
        partition: `t-${i % 8}`,
        value: `v${i}`,
        offset: `${1_700_000_000_000 + (next[i % 8]! >> 4)}-${next[i % 8]!++ & 15}`,
      },
    ]
    values[i % 8]!.push(`v${i}`)
    operations.push({ kind: 'send', process: `p${i % 16}`, outcome: 'ok', records })
  }
  for (let i = 0; i < count / 2; i++) {
    const at = i >> 3
    const record = {
      partition: `t-${i % 8}`,
      value: values[i % 8]![at]!,
      offset: `${1_700_000_000_000 + (at >> 4)}-${at & 15}`,
    }
    operations.push({ kind: 'poll', process: `c${i % 8}`, outcome: 'ok', records: [record] })
  }
  return operations
}

const timed = <T>(what: string, f: () => T): T => {
  const start = performance.now()
  const result = f()
  console.log(`${what}: ${((performance.now() - start) / 1000).toFixed(2)} s`)
  return result
}

describe('a history of a million operations', () => {
  it('is parsed, and the one poll that is missing from it is all that is found', () => {
    const text = formatHistory(history().toSpliced(777_777, 1))
    const operations = timed('parseHistory of 1,000,000 operations', () => parseHistory(text))
    const report = timed('checkHistory of 1,000,000 operations', () => checkHistory(operations))
    expect(report.summary).toBe('invalid: 1 lost-write, 1 poll-skip in 999999 operations')
  })

  it.each<[string, (i: number) => HistoryOperation]>([
    ['one value everywhere', (i) => one(i, 'v', i >> 1)],
    ['one offset for everything', (i) => one(i, `v${i >> 1}`, 0)],
    ['one value at one offset', (i) => one(i, 'v', 0)],
    ['every read before the last one', (i) => one(i, `v${i >> 1}`, count - i)],
  ])('takes no more time where all is wrong: %s', (_, operation) => {
    const operations = Array.from({ length: count / 10 }, (_, i) => operation(i))
    const report = timed(`checkHistory of ${count / 10} wrong operations`, () => checkHistory(operations))
    expect(report.valid).toBe(false)
  })
})

function one(i: number, value: string, offset: number): HistoryOperation {
  const records = [{ partition: 't', value, offset: `${offset}` }]
  return { kind: i % 2 === 0 ? 'send' : 'poll', process: 'p', outcome: 'ok', records }
}
