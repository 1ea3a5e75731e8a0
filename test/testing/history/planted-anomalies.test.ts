import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type AnomalyKind,
  type CheckHistoryOptions,
  checkHistory,
  type HistoryOperation,
  type HistoryValue,
  type PolledRecord,
  type SendOperation,
} from '../../../src/testing/history/index.ts'
import { type CorrectLog, correctLog, type Sent, worlds } from './correct-log.ts'

/** What was planted: the history with it, and values that the evidence must name. */
interface Planted {
  readonly history: readonly HistoryOperation[]
  readonly values: readonly HistoryValue[]
}

/** One of them; the run does not count if there is none. */
function pick<T>(from: readonly T[], n: number): T {
  fc.pre(from.length > 0)
  return from[n % from.length] as T
}

/** Plants into correct histories, at places that `a` and `b` choose, and expects the kind to be found there. */
function finds(
  kind: AnomalyKind,
  how: string,
  plant: (log: CorrectLog, a: number, b: number) => Planted,
  options: CheckHistoryOptions = {},
): void {
  it(`${kind}: ${how}`, () => {
    fc.assert(
      fc.property(worlds({ drained: true, minSteps: 30 }), fc.nat(), fc.nat(), (world, a, b) => {
        const log = correctLog(world)
        const { history, values } = plant(log, a, b)
        const report = checkHistory(history, { ...options, evidenceLimit: 1000 })
        expect(report.valid).toBe(false)
        const { evidence = [], count = 0 } = report.anomalies.find((one) => one.kind === kind) ?? {}
        expect(evidence.filter((one) => values.every((value) => one.values.includes(value)))).not.toEqual([])
        expect(evidence.length).toBe(count)
      }),
      { numRuns: 500 },
    )
  })
}

const allVisible = ({ visible }: CorrectLog): PolledRecord[] => [...visible.values()].flat()

/** Whether the value was sent once, and took effect as everybody knows. */
function isCertain(
  { history, retried, visible }: CorrectLog,
  { value, outcome, partition, transaction }: Sent,
): boolean {
  const committed =
    transaction === undefined ||
    history.some((one) => one.kind === 'commit' && one.outcome === 'ok' && one.transaction === transaction)
  const seen = visible.get(partition)?.some((record) => record.value === value) === true
  return outcome === 'ok' && committed && seen && !retried.has(value)
}

const without = (history: readonly HistoryOperation[], value: HistoryValue, process?: string): HistoryOperation[] =>
  history.map((one) =>
    one.kind === 'poll' && (process ?? one.process) === one.process
      ? { ...one, records: one.records.filter((record) => record.value !== value) }
      : one,
  )

const insert = (log: CorrectLog, at: number, ...operations: HistoryOperation[]): HistoryOperation[] =>
  log.history.toSpliced(at % (log.history.length + 1), 0, ...operations)

const poll = (...records: PolledRecord[]): HistoryOperation => ({
  kind: 'poll',
  process: 'planted',
  outcome: 'ok',
  records,
})

describe('an anomaly planted into a correct history is found', () => {
  finds('lost-write', 'an acknowledged value is taken out of every poll, below others that were read', (log, a) => {
    const last = new Set([...log.visible.values()].map((records) => records.at(-1)?.value))
    const lost = pick(
      log.sent.filter((one) => isCertain(log, one) && one.offset !== undefined && !last.has(one.value)),
      a,
    )
    return { history: without(log.history, lost.value), values: [lost.value] }
  })

  finds('unseen', 'the last value of a partition is taken out of every poll', (log, a) => {
    const last = new Set([...log.visible.values()].map((records) => records.at(-1)?.value))
    const unseen = pick(
      log.sent.filter((one) => isCertain(log, one) && last.has(one.value)),
      a,
    )
    return { history: without(log.history, unseen.value), values: [unseen.value] }
  })

  finds('duplicate', 'a value is read once more, further on', (log, a, b) => {
    const { partition, value } = pick(allVisible(log), a)
    return { history: insert(log, b, poll({ partition, value, offset: log.offsetAfter(0) })), values: [value] }
  })

  finds('inconsistent-offsets', 'somebody reads another value at an offset', (log, a, b) => {
    const { partition, value, offset } = pick(allVisible(log), a)
    return { history: insert(log, b, poll({ partition, value: 7, offset })), values: [value, 7] }
  })

  finds('inconsistent-offsets', 'a send was told another offset', (log, a) => {
    const { operation, value } = pick(
      log.sent.filter((one) => isCertain(log, one) && one.offset !== undefined),
      a,
    )
    const history = log.history.map((one, i) =>
      i === operation
        ? {
            ...(one as SendOperation),
            records: (one as SendOperation).records.map((record) =>
              record.value === value ? { ...record, offset: log.offsetAfter(0) } : record,
            ),
          }
        : one,
    )
    return { history, values: [value] }
  })

  finds('aborted-read', 'somebody reads what failed or was aborted', (log, a, b) => {
    const aborted = new Set(
      log.history.flatMap((one) =>
        one.kind === 'abort' || (one.kind === 'commit' && one.outcome === 'failed') ? one.transaction : [],
      ),
    )
    const { value, partition } = pick(
      log.sent.filter(({ outcome, transaction }) => outcome === 'failed' || aborted.has(transaction ?? '')),
      a,
    )
    return { history: insert(log, b, poll({ partition, value, offset: log.offsetAfter(0) })), values: [value] }
  })

  finds('aborted-read', 'the send of what was read had failed', (log, a) => {
    const { operation, value } = pick(
      log.sent.filter((one) => isCertain(log, one)),
      a,
    )
    const failed = log.history[operation] as SendOperation
    const records = failed.records.map(({ partition, value: sent }) => ({ partition, value: sent }))
    const history = log.history.with(operation, { ...failed, outcome: 'failed', records })
    return { history, values: [value] }
  })

  finds('precommitted-read', 'a client reads what it has not committed yet', (log, a, b) => {
    const { operation, process, transaction, value, partition } = pick(
      log.sent.filter(
        (one) => one.outcome !== 'failed' && one.transaction !== undefined && !log.retried.has(one.value),
      ),
      a,
    )
    const end = log.history.findIndex(
      (one, i) =>
        i > operation &&
        one.kind !== 'assign' &&
        one.kind !== 'send' &&
        one.kind !== 'poll' &&
        one.transaction === transaction &&
        one.outcome !== 'failed',
    )
    const at = operation + 1 + (b % ((end < 0 ? log.history.length : end) - operation))
    const record = log.visible.get(partition)?.find((one) => one.value === value)
    const read: HistoryOperation = {
      kind: 'poll',
      process,
      outcome: 'ok',
      ...(a % 2 === 0 ? {} : { transaction }),
      records: [record ?? { partition, value, offset: log.offsetAfter(0) }],
    }
    return { history: log.history.toSpliced(at, 0, read), values: [value] }
  })
})

describe('an anomaly of what one reader polls is found', () => {
  /** Two reads, in one poll, in two polls of a transaction, or in two polls: what lies between decides the name. */
  const reads = (first: PolledRecord, second: PolledRecord, how: number): HistoryOperation[] => {
    if (how === 0) return [poll(first, second)]
    if (how === 1) return [poll(first), { kind: 'send', process: 'planted', outcome: 'ok', records: [] }, poll(second)]
    return [first, second].map((record) => ({ ...poll(record), transaction: 'planted' }) as HistoryOperation)
  }
  for (const [int, how, way] of [
    ['int-', 0, 'in one poll'],
    ['int-', 2, 'in one transaction'],
    ['', 1, 'from poll to poll'],
  ] as const) {
    finds(`${int}poll-skip`, `two reads ${way} leave out what lies between`, (log, a, b) => {
      const records = pick(
        [...log.visible.values()].filter(({ length }) => length > 2),
        a,
      )
      const i = a % (records.length - 2)
      const j = i + 2 + (b % (records.length - i - 2))
      const [first, second] = [records[i]!, records[j]!]
      return {
        history: insert(log, b, ...reads(first, second, how)),
        values: [first.value, records[i + 1]!.value, second.value],
      }
    })

    finds(`${int}nonmonotonic-poll`, `two reads ${way} go back`, (log, a, b) => {
      const records = pick(
        [...log.visible.values()].filter(({ length }) => length > 0),
        a,
      )
      const j = a % records.length
      const [first, second] = [records[j]!, records[b % (j + 1)]!]
      return { history: insert(log, b, ...reads(first, second, how)), values: [first.value, second.value] }
    })
  }

  /** The polls of the reader that read everything in the end, whose every read has a known predecessor. */
  const drained = ({ history }: CorrectLog) =>
    history.flatMap((one, operation) =>
      one.kind === 'poll' && one.process === 'drain'
        ? one.records.map((record, at) => ({ record, operation, at, of: one.records.length }))
        : [],
    )

  for (const int of ['int-', ''] as const) {
    finds(`${int}poll-skip`, `one value is taken out of the polls of one reader`, (log, a) => {
      const last = new Set([...log.visible.values()].map((records) => records.at(-1)?.value))
      const elsewhere = new Set(
        log.sent.filter((one) => isCertain(log, one) && one.offset !== undefined).map(({ value }) => value),
      )
      const { record } = pick(
        drained(log).filter(
          ({ record, at, of }) =>
            elsewhere.has(String(record.value)) && !last.has(record.value) && (at > 0 && at < of - 1) === (int !== ''),
        ),
        a,
      )
      return { history: without(log.history, record.value, 'drain'), values: [record.value] }
    })

    finds(`${int}nonmonotonic-poll`, `two neighbours in the polls of one reader change places`, (log, a) => {
      const all = drained(log)
      const at = pick(
        [...all.keys()].filter(
          (i) =>
            i > 0 &&
            all[i - 1]!.record.partition === all[i]!.record.partition &&
            (all[i - 1]!.operation === all[i]!.operation) === (int !== ''),
        ),
        a,
      )
      const [first, second] = [all[at - 1]!.record, all[at]!.record]
      const swapped = (record: PolledRecord) => (record === first ? second : record === second ? first : record)
      const history = log.history.map((one) =>
        one.kind === 'poll' && one.process === 'drain' ? { ...one, records: one.records.map(swapped) } : one,
      )
      return { history, values: [first.value, second.value] }
    })
  }

  finds('poll-skip', 'the first read after a seek is not what follows', (log, a, b) => {
    const records = pick(
      [...log.visible.values()].filter(({ length }) => length > 1),
      a,
    )
    const to = 1 + (b % (records.length - 1))
    const after = to > 1 && a % 2 === 0 ? records[to - 2]!.offset : ''
    const { partition } = records[0]!
    const seek: HistoryOperation = { kind: 'assign', process: 'planted', outcome: 'ok', partition, after }
    return {
      history: insert(log, a, seek, poll(records[to]!)),
      values: [records[after === '' ? 0 : to - 1]!.value, records[to]!.value],
    }
  })
})

describe('an anomaly of what one producer sends is found', () => {
  for (const int of ['int-', ''] as const) {
    finds(`${int}nonmonotonic-send`, 'two sends of one producer change places', (log, a) => {
      const settled = log.sent.filter(({ outcome, value }) => outcome === 'ok' && !log.retried.has(value))
      const neighbours = [
        ...Map.groupBy(settled, ({ process, partition }) => `${process} ${partition}`).values(),
      ].flatMap((all) => all.slice(1).map((second, i) => [all[i]!, second] as const))
      const [first, second] = pick(
        neighbours.filter(
          ([one, other]) =>
            isCertain(log, one) &&
            isCertain(log, other) &&
            (one.operation === other.operation ||
              (one.transaction !== undefined && one.transaction === other.transaction)) ===
              (int !== ''),
        ),
        a,
      )
      const history = log.history.map((one) => {
        if (one.kind !== 'send') return one
        const records = one.records.map((record) => {
          const other = record.value === first.value ? second : record.value === second.value ? first : undefined
          if (other === undefined) return record
          const { partition, value, offset } = other
          return { partition, value, ...(offset === undefined ? {} : { offset }) }
        })
        return { ...one, records }
      })
      return { history, values: [first.value, second.value] }
    })
  }

  finds(
    'int-send-skip',
    'a value of another producer stands within one send or transaction',
    (log, a, b) => {
      const partition = pick([...log.visible.keys()], a)
      const records = [0, 2].map((n) => ({ partition, value: n, offset: log.offsetAfter(n) }))
      const sends = a % 2 === 0 ? [records] : records.map((record) => [record])
      const ends = { kind: 'commit', process: 'planted', outcome: 'ok', transaction: 'planted' } as const
      const planted: HistoryOperation[] = sends.map((records) => ({
        kind: 'send',
        process: 'planted',
        outcome: 'ok',
        transaction: 'planted',
        records,
      }))
      const other = [{ partition, value: 1, offset: log.offsetAfter(1) }]
      const between: HistoryOperation = { kind: 'send', process: 'other', outcome: 'ok', records: other }
      return { history: insert(log, b, between, ...planted, ends), values: [0, 2] }
    },
    { contiguous: true },
  )
})
