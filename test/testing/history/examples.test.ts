import { describe, expect, it } from 'vitest'
import {
  type CheckHistoryOptions,
  checkHistory,
  type HistoryOperation,
  type HistoryOutcome,
  type HistoryValue,
} from '../../../src/testing/history/index.ts'

const inTransaction = (transaction: string | undefined) => (transaction === undefined ? {} : { transaction })

/** `send('p', ['a@0', 'b'])`: process p sent a, which is at 0, and b, nobody knows where. All is in partition t. */
function send(
  process: string,
  values: readonly string[],
  { outcome = 'ok', transaction }: { outcome?: HistoryOutcome; transaction?: string } = {},
): HistoryOperation {
  const records = values.map((text) => {
    const [value, offset] = text.split('@') as [string, string?]
    return { partition: 't', value, ...(offset === undefined ? {} : { offset }) }
  })
  return { kind: 'send', process, outcome, ...inTransaction(transaction), records }
}

function poll(process: string, values: readonly string[], transaction?: string): HistoryOperation {
  const records = values.map((text) => {
    const [value, offset] = text.split('@') as [string, string]
    return { partition: 't', value, offset }
  })
  return { kind: 'poll', process, outcome: 'ok', ...inTransaction(transaction), records }
}

const badPoll = (process: string, outcome: 'failed' | 'unknown'): HistoryOperation => ({
  kind: 'poll',
  process,
  outcome,
  records: [],
})
const assign = (process: string, after?: string, outcome: HistoryOutcome = 'ok'): HistoryOperation => ({
  kind: 'assign',
  process,
  outcome,
  partition: 't',
  ...(after === undefined ? {} : { after }),
})
const end = (
  process: string,
  transaction: string,
  kind: 'commit' | 'abort' = 'commit',
  outcome: HistoryOutcome = 'ok',
): HistoryOperation => ({ kind, process, outcome, transaction })

/** What was found, as `kind operations values`. */
const found = (history: readonly HistoryOperation[], options?: CheckHistoryOptions): string[] =>
  checkHistory(history, options).anomalies.flatMap(({ kind, evidence }) =>
    evidence.map(({ operations, values }) => `${kind} [${operations}] ${values}`),
  )
const notChecked = (history: readonly HistoryOperation[]): [string, number][] =>
  checkHistory(history).notChecked.map(({ kinds, count }) => [kinds[0] as string, count])

describe('checkHistory', () => {
  it('finds nothing in nothing', () => {
    expect(checkHistory([])).toEqual({
      valid: true,
      summary: 'valid: no anomaly in 0 operations',
      anomalies: [],
      notChecked: [],
    })
  })

  it('reports the kind, the sentence, the evidence and a summary', () => {
    const report = checkHistory([send('p', ['a@0', 'b@1', 'c@2']), poll('c', ['a@0']), poll('c', ['c@2'])])
    expect(report.valid).toBe(false)
    expect(report.summary).toBe('invalid: 1 lost-write, 1 poll-skip in 3 operations')
    expect(report.anomalies).toEqual([
      {
        kind: 'lost-write',
        message:
          'Readers passed the offset at which a value was acknowledged and nobody ever got it: data that its sender believes to be safe is gone.',
        count: 1,
        allowed: false,
        evidence: [
          {
            partition: 't',
            operations: [0],
            offsets: ['1'],
            values: ['b'],
            detail: '"b" was acknowledged in t at 1, but nobody read it, though readers came to 2',
          },
        ],
      },
      {
        kind: 'poll-skip',
        message:
          'From one poll to the next a reader jumped over values that exist, without a seek: it will never handle them.',
        count: 1,
        allowed: false,
        evidence: [
          {
            partition: 't',
            operations: [1, 2],
            offsets: ['0', '1', '2'],
            values: ['a', 'b', 'c'],
            detail: 'c read t at 2 after 0, past 1 that exist',
          },
        ],
      },
    ])
  })

  it('keeps the first of many, but counts all', () => {
    const values = Array.from({ length: 100 }, (_, i) => `v${i}@${i}`)
    const [anomaly] = checkHistory([send('p', values)], { evidenceLimit: 3 }).anomalies
    expect(anomaly).toMatchObject({ kind: 'unseen', count: 100 })
    expect(anomaly?.evidence.map((one) => one.values)).toEqual([['v0'], ['v1'], ['v2']])
  })

  it('is valid with kinds that are allowed, and still reports them', () => {
    const report = checkHistory([send('p', ['a@0']), poll('c', ['a@0', 'a@1'])], { allowed: ['duplicate'] })
    expect(report.valid).toBe(true)
    expect(report.summary).toBe('valid: 1 duplicate (allowed) in 2 operations')
    expect(report.anomalies.map(({ kind, allowed }) => [kind, allowed])).toEqual([['duplicate', true]])
  })

  it('tells partitions apart', () => {
    const one = { partition: 'one', value: 'a', offset: '5' }
    const two = { partition: 'two', value: 'a', offset: '3' }
    const history: HistoryOperation[] = [
      { kind: 'send', process: 'p', outcome: 'ok', records: [one, two] },
      { kind: 'poll', process: 'c', outcome: 'ok', records: [one, two] },
    ]
    expect(found(history)).toEqual([])
  })

  it('refuses what is not an operation, with its index', () => {
    const wrong = [
      send('p', ['a@0']),
      { kind: 'send', process: 'p', outcome: 'ok', records: [{ partition: 't', value: 1, offset: 7 }] },
    ]
    expect(() => checkHistory(wrong as HistoryOperation[])).toThrow(
      'operation 1: expected "offset" to be a string of decimal numbers, "42" or "1700000000000-3", but found 7',
    )
  })

  it('refuses a transaction of two processes', () => {
    const history = [send('p', ['a'], { transaction: 'x' }), end('q', 'x')]
    expect(() => checkHistory(history)).toThrow(
      'operation 1: expected transaction "x" to be that of process "p" alone, but found "q"',
    )
  })
})

describe('lost-write and unseen', () => {
  it('is lost below the highest read, unseen above it', () => {
    const history = [send('p', ['a@0', 'b@1', 'c@2']), poll('c', ['b@1'])]
    expect(found(history)).toEqual(['lost-write [0] a', 'unseen [0] c'])
  })

  it('compares offsets as numbers, also those of entry ids', () => {
    expect(found([send('p', ['a@9', 'b@10']), poll('c', ['b@10'])])).toEqual(['lost-write [0] a'])
    expect(found([send('p', ['a@5-9', 'b@5-10']), poll('c', ['a@5-9'])])).toEqual(['unseen [0] b'])
  })

  it('does not miss what failed or may never have been appended', () => {
    const history = [
      send('p', ['a'], { outcome: 'failed' }),
      send('p', ['b'], { outcome: 'unknown' }),
      send('p', ['c@2'], { transaction: 'x' }),
      end('p', 'x', 'abort'),
      send('p', ['d@4'], { transaction: 'y' }),
      end('p', 'y', 'commit', 'unknown'),
      send('p', ['e@6'], { transaction: 'z' }),
      send('q', ['f@7']),
      poll('c', ['f@7']),
    ]
    expect(found(history)).toEqual([])
    expect(notChecked(history)).toEqual([
      ['lost-write', 3],
      ['poll-skip', 1],
    ])
  })

  it('misses what a transaction sent besides a value that was read', () => {
    const history = [
      send('p', ['a@0', 'b@1'], { transaction: 'x' }),
      end('p', 'x', 'commit', 'unknown'),
      poll('c', ['b@1']),
    ]
    expect(found(history)).toEqual(['lost-write [0] a'])
    expect(found([history[0]!, history[1]!, poll('c', ['a@0'])])).toEqual([]) // b was never acknowledged
  })

  it('misses what was acknowledged where somebody reads another value', () => {
    expect(found([send('p', ['a@0']), assign('c', ''), badPoll('c', 'unknown'), poll('c', ['b@0'])])).toEqual([
      'lost-write [0] a',
      'inconsistent-offsets [0,3] a,b',
    ])
  })

  it('misses what a reader passed, whatever that reader did next', () => {
    const history = [
      send('p', ['a@0', 'b@1', 'c@2']),
      poll('c', ['a@0', 'c@2']),
      assign('c', ''),
      poll('c', ['c@2', 'a@0']),
    ]
    expect(found(history)).toContain('lost-write [0] b')
    expect(found([...history.slice(0, 2), poll('c', ['a@0'])])).toContain('lost-write [0] b')
  })

  it('takes a commit that was repeated for one that succeeded', () => {
    const history = [
      send('p', ['a@0'], { transaction: 'x' }),
      end('p', 'x', 'commit', 'unknown'),
      end('p', 'x', 'commit', 'failed'),
      end('p', 'x', 'commit', 'ok'),
    ]
    expect(found(history)).toEqual(['unseen [0] a'])
    expect(found([history[0]!, history[1]!, end('p', 'x', 'abort')])).toEqual([])
    expect(found([history[0]!, history[3]!, history[1]!, end('p', 'x', 'abort')])).toEqual(['unseen [0] a'])
  })

  it('misses a value that was acknowledged without an offset', () => {
    expect(found([send('p', ['a'])])).toEqual(['unseen [0] a'])
  })

  it('does not call lost what every reader started after', () => {
    const history = [send('p', ['a@0', 'b@1', 'c@2']), assign('c', '1'), poll('c', ['c@2'])]
    expect(found(history)).toEqual([])
    expect(notChecked(history)).toEqual([['lost-write', 2]])
  })

  it('does not call lost what a poll of unknown outcome may have returned', () => {
    const history = [send('p', ['a@0', 'b@1', 'c@2']), poll('c', ['a@0']), badPoll('c', 'unknown'), poll('c', ['c@2'])]
    expect(found(history)).toEqual([])
    expect(notChecked(history)).toContainEqual(['lost-write', 1])
  })

  it('calls lost what a group left out from one member to the next', () => {
    const history = [send('p', ['a@0', 'b@1', 'c@2']), assign('c'), poll('c', ['a@0']), assign('d'), poll('d', ['c@2'])]
    expect(found(history)).toEqual(['lost-write [0] b'])
  })
})

describe('duplicate and inconsistent-offsets', () => {
  it('is a duplicate if one value is read at two offsets', () => {
    expect(found([send('p', ['a@0']), poll('c', ['a@0']), poll('c', ['a@1'])])).toEqual(['duplicate [0,1,2] a'])
  })

  it('is a duplicate if a value that was sent again is acknowledged at another offset', () => {
    const again = [send('p', ['a'], { outcome: 'unknown' }), send('p', ['a@1'])]
    expect(found([...again, poll('c', ['a@1'])])).toEqual([])
    expect(found([...again, poll('c', ['a@0'])])).toEqual(['duplicate [0,1,2] a'])
  })

  it('is inconsistent if two values are at one offset', () => {
    expect(found([send('p', ['a@0']), poll('c', ['a@0']), poll('d', ['b@0'])])).toEqual([
      'inconsistent-offsets [1,2] a,b',
    ])
    expect(found([send('p', ['a@0']), send('q', ['b@0']), poll('c', ['b@0'])])).toContain(
      'inconsistent-offsets [0,2] a,b',
    )
  })

  it('is inconsistent if a value is not where its send was told', () => {
    expect(found([send('p', ['a@0']), poll('c', ['a@1'])])).toEqual(['inconsistent-offsets [0,1] a'])
  })

  it('takes no offset from a transaction that was aborted', () => {
    const history = [
      send('p', ['a@0'], { transaction: 'x' }),
      end('p', 'x', 'abort'),
      send('q', ['b@0']),
      poll('c', ['b@0']),
    ]
    expect(found(history)).toEqual([])
  })
})

describe('aborted-read and precommitted-read', () => {
  it.each<[string, HistoryOperation[]]>([
    ['a send that failed', [send('p', ['a'], { outcome: 'failed' })]],
    ['an aborted transaction', [send('p', ['a'], { transaction: 'x' }), end('p', 'x', 'abort')]],
    ['an abort of unknown outcome', [send('p', ['a'], { transaction: 'x' }), end('p', 'x', 'abort', 'unknown')]],
    ['a commit that failed', [send('p', ['a'], { transaction: 'x' }), end('p', 'x', 'commit', 'failed')]],
  ])('is an aborted read of %s', (_, sends) => {
    expect(found([...sends, poll('c', ['a@0'])])).toEqual([`aborted-read [0,${sends.length}] a`])
  })

  it('is none of what may have been committed, or was sent again', () => {
    const transaction = 'x'
    expect(found([send('p', ['a'], { outcome: 'unknown' }), poll('c', ['a@0'])])).toEqual([])
    expect(found([send('p', ['a'], { transaction }), poll('c', ['a@0'])])).toEqual([])
    expect(found([send('p', ['a'], { transaction }), end('p', 'x', 'commit', 'unknown'), poll('c', ['a@0'])])).toEqual(
      [],
    )
    expect(found([send('p', ['a'], { outcome: 'failed' }), send('p', ['a@0']), poll('c', ['a@0'])])).toEqual([])
    expect(found([send('p', ['a'], { transaction }), end('p', 'x', 'abort', 'failed'), poll('c', ['a@0'])])).toEqual([])
    const repeated = [end('p', 'x', 'commit', 'unknown'), end('p', 'x', 'abort')]
    expect(found([send('p', ['a'], { transaction }), ...repeated, poll('c', ['a@0'])])).toEqual([])
  })

  it('lets other readers pass an aborted value that one has read', () => {
    const history = [
      send('p', ['a@0', 'c@2']),
      send('p', ['b'], { outcome: 'failed' }),
      poll('c', ['a@0', 'b@1', 'c@2']),
      poll('d', ['a@0', 'c@2']),
    ]
    expect(found(history)).toEqual(['aborted-read [1,2] b'])
  })

  it('is precommitted if a client reads its own value before its commit, not after', () => {
    const transaction = 'x'
    const before = [send('p', ['a@0'], { transaction }), poll('p', ['a@0'], transaction), end('p', 'x')]
    expect(found(before)).toEqual(['precommitted-read [0,1] a'])
    expect(found([before[0]!, poll('p', ['a@0']), end('p', 'x')])).toEqual(['precommitted-read [0,1] a'])
    expect(found([before[0]!, end('p', 'x'), poll('p', ['a@0'])])).toEqual([])
    expect(found([before[0]!, end('p', 'x', 'commit', 'unknown'), poll('p', ['a@0'])])).toEqual([])
  })

  it('is precommitted after a commit that failed, not after one that may have succeeded', () => {
    const began = send('p', ['a@0'], { transaction: 'x' })
    const read = [poll('p', ['a@0']), end('p', 'x')]
    expect(found([began, end('p', 'x', 'commit', 'failed'), ...read])).toEqual(['precommitted-read [0,2] a'])
    expect(found([began, end('p', 'x', 'commit', 'unknown'), ...read])).toEqual([])
  })

  it('is not precommitted if another send may have brought the value, or its own failed', () => {
    const began = send('p', ['a@0'], { transaction: 'x' })
    expect(found([began, send('q', ['a@0']), poll('p', ['a@0'])])).toEqual([])
    expect(found([send('p', ['a'], { transaction: 'x', outcome: 'failed' }), poll('p', ['a@0'])])).toEqual([
      'aborted-read [0,1] a',
    ])
  })

  it('does not take it for a proof of the commit', () => {
    const history = [
      send('p', ['a@0', 'b@1'], { transaction: 'x' }),
      poll('p', ['a@0']),
      end('p', 'x', 'commit', 'unknown'),
      send('q', ['c@2']),
      assign('c', ''),
      poll('c', ['c@2']),
    ]
    expect(found(history)).toEqual(['precommitted-read [0,1] a'])
  })
})

describe('poll-skip and nonmonotonic-poll', () => {
  const sent = send('p', ['a@0', 'b@1', 'c@2'])
  const all = poll('all', ['a@0', 'b@1', 'c@2'])

  it('is named after where it happens', () => {
    expect(found([sent, all, poll('c', ['a@0']), poll('c', ['c@2'])])).toEqual(['poll-skip [2,3] a,b,c'])
    expect(found([sent, all, poll('c', ['a@0', 'c@2'])])).toEqual(['int-poll-skip [2] a,b,c'])
    expect(found([sent, all, poll('c', ['a@0'], 'x'), poll('c', ['c@2'], 'x')])).toEqual(['int-poll-skip [2,3] a,b,c'])
    expect(found([sent, all, poll('c', ['b@1']), poll('c', ['a@0'])])).toEqual(['nonmonotonic-poll [2,3] b,a'])
    expect(found([sent, all, poll('c', ['a@0', 'a@0'])])).toEqual(['int-nonmonotonic-poll [2] a,a'])
    expect(found([sent, all, poll('c', ['b@1'], 'x'), poll('c', ['a@0'], 'x')])).toEqual([
      'int-nonmonotonic-poll [2,3] b,a',
    ])
  })

  it('is no skip where nothing is known to exist', () => {
    expect(found([send('p', ['a@0', 'c@2']), poll('c', ['a@0', 'c@2'])])).toEqual([])
  })

  it('allows any move by a seek, and holds the reader to where it led', () => {
    expect(found([sent, all, poll('c', ['b@1']), assign('c', ''), poll('c', ['a@0'])])).toEqual([])
    expect(found([sent, all, poll('c', ['a@0']), assign('c', '1'), poll('c', ['c@2'])])).toEqual([])
    expect(found([sent, all, assign('c', ''), poll('c', ['b@1'])])).toEqual(['poll-skip [2,3] a,b'])
    expect(found([sent, all, assign('c', '1'), poll('c', ['b@1'])])).toEqual(['nonmonotonic-poll [2,3] b'])
    expect(found([sent, all, poll('c', ['a@0']), assign('c', '1', 'failed'), poll('c', ['c@2'])])).toEqual([
      'poll-skip [2,4] a,b,c',
    ])
  })

  it('allows any move by a rebalance or a seek of unknown outcome', () => {
    for (const move of [assign('c'), assign('c', '1', 'unknown')]) {
      expect(found([sent, all, poll('c', ['a@0']), move, poll('c', ['c@2'])])).toEqual([])
      expect(found([sent, all, poll('c', ['c@2']), move, poll('c', ['a@0'])])).toEqual([])
    }
  })

  it('allows a poll of unknown outcome to have moved on, but not back; one that failed has done nothing', () => {
    expect(found([sent, all, poll('c', ['a@0']), badPoll('c', 'unknown'), poll('c', ['c@2'])])).toEqual([])
    expect(found([sent, all, poll('c', ['b@1']), badPoll('c', 'unknown'), poll('c', ['a@0'])])).toEqual([
      'nonmonotonic-poll [2,4] b,a',
    ])
    expect(found([sent, all, poll('c', ['a@0']), badPoll('c', 'failed'), poll('c', ['c@2'])])).toEqual([
      'poll-skip [2,4] a,b,c',
    ])
  })

  it('allows an aborted transaction to go back to where it began, but not further', () => {
    for (const [kind, outcome] of [
      ['abort', 'ok'],
      ['commit', 'failed'],
      ['commit', 'unknown'],
    ] as const) {
      const began = [sent, all, poll('c', ['a@0']), poll('c', ['b@1'], 'x'), end('c', 'x', kind, outcome)]
      expect(found([...began, poll('c', ['b@1'])])).toEqual([])
      expect(found([...began, poll('c', ['c@2'])])).toEqual([])
      expect(found([...began, poll('c', ['a@0'])])).toEqual(['nonmonotonic-poll [2,5] a,a'])
    }
    expect(found([sent, all, poll('c', ['b@1'], 'x'), end('c', 'x'), poll('c', ['b@1'])])).toEqual([
      'nonmonotonic-poll [2,4] b,b',
    ])
  })
})

describe('nonmonotonic-send and int-send-skip', () => {
  const read = poll('c', ['b@0', 'a@1'])

  it('is named after where it happens', () => {
    const transaction = 'x'
    expect(found([send('p', ['a@1']), send('p', ['b@0']), read])).toEqual(['nonmonotonic-send [0,1] a,b'])
    expect(found([send('p', ['a@1', 'b@0']), read])).toEqual(['int-nonmonotonic-send [0] a,b'])
    expect(
      found([send('p', ['a@1'], { transaction }), send('p', ['b@0'], { transaction }), end('p', 'x'), read]),
    ).toEqual(['int-nonmonotonic-send [0,1] a,b'])
  })

  it('knows from readers where values stand', () => {
    expect(found([send('p', ['a']), send('p', ['b']), read])).toEqual(['nonmonotonic-send [0,1] a,b'])
    expect(found([send('p', ['a']), send('p', ['b'], { outcome: 'unknown' }), read])).toEqual([
      'nonmonotonic-send [0,1] a,b',
    ])
  })

  it('allows what was given up to land later', () => {
    expect(found([send('p', ['a'], { outcome: 'unknown' }), send('p', ['b@0']), read])).toEqual([])
    const given = [send('p', ['a'], { transaction: 'x' }), end('p', 'x', 'commit', 'unknown')]
    expect(found([...given, send('p', ['b@0']), read])).toEqual([])
  })

  it('allows a log that drops repeated values to answer with the first one', () => {
    const history = [send('p', ['b@0']), send('p', ['a@1']), send('p', ['b@0']), read]
    expect(found(history)).toEqual([])
    expect(notChecked(history)).toContainEqual(['nonmonotonic-send', 2])
  })

  it('does not compare what stands at two offsets, or a send that failed', () => {
    const twice = [send('p', ['a']), send('p', ['b@1']), poll('c', ['b@1', 'a@2']), poll('d', ['a@0'])]
    expect(found(twice)).toEqual(['duplicate [0,2,3] a'])
    const failed = [send('p', ['b@1']), send('p', ['a'], { outcome: 'failed' }), send('q', ['a@0'])]
    expect(found([...failed, poll('c', ['a@0', 'b@1'])])).toEqual([])
  })

  it('compares the sends of one producer only', () => {
    expect(found([send('p', ['a@1']), send('q', ['b@0']), read])).toEqual([])
  })

  it('looks for values of others within a send only on demand', () => {
    const history = [send('p', ['a@0', 'c@2']), send('q', ['b@1']), poll('c', ['a@0', 'b@1', 'c@2'])]
    expect(found(history)).toEqual([])
    expect(found(history, { contiguous: true })).toEqual(['int-send-skip [0] a,c'])
  })
})

describe('evidence', () => {
  it('is bounded, however often a value was sent and read', () => {
    const history = Array.from({ length: 50 }, (_, i) => [send('p', [`a@${i}`]), poll(`c${i}`, [`a@${i}`])]).flat()
    const [anomaly] = checkHistory(history).anomalies
    const evidence = anomaly?.evidence[0]
    expect(anomaly).toMatchObject({ kind: 'duplicate', count: 1 })
    expect([evidence?.operations.length, evidence?.offsets.length]).toEqual([16, 8])
    const value: HistoryValue | undefined = evidence?.values[0]
    expect(value).toBe('a')
  })
})
