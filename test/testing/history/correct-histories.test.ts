import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { checkHistory, formatHistory, type HistoryOperation, parseHistory } from '../../../src/testing/history/index.ts'
import { correctLog, worlds } from './correct-log.ts'

const found = (history: readonly HistoryOperation[], options = {}) =>
  checkHistory(history, options).anomalies.map(({ kind, count, evidence }) => ({ kind, count, evidence }))

describe('a history of a log that keeps every promise', () => {
  it('has no anomaly when everything is read in the end', () => {
    fc.assert(
      fc.property(worlds({ drained: true }), (world) => {
        expect(found(correctLog(world).history, { contiguous: world.buffered })).toEqual([])
      }),
      { numRuns: 4000 },
    )
  })

  it('has none but values that are not yet read when it just stops', () => {
    fc.assert(
      fc.property(worlds({ drained: false }), (world) => {
        const { history } = correctLog(world)
        expect(found(history).filter(({ kind }) => kind !== 'unseen')).toEqual([])
      }),
      { numRuns: 4000 },
    )
  })

  it('is judged alike however the operations of different processes are interleaved', () => {
    fc.assert(
      fc.property(worlds(), fc.nat(), fc.boolean(), (world, at, breaks) => {
        const history = [...correctLog(world).history]
        if (breaks) history.splice(at % (history.length + 1), 2) // whatever that does to it
        const byProcess = [...Map.groupBy(history, ({ process }) => process).values()].flat()
        const counts = (all: readonly HistoryOperation[]) => {
          const { anomalies, notChecked } = checkHistory(all)
          return { anomalies: anomalies.map(({ kind, count }) => [kind, count]), notChecked }
        }
        expect(counts(byProcess)).toEqual(counts(history))
      }),
      { numRuns: 1000 },
    )
  })

  it('comes back from JSON lines as it was', () => {
    fc.assert(
      fc.property(worlds(), (world) => {
        const { history } = correctLog(world)
        expect(parseHistory(formatHistory(history))).toEqual(history)
      }),
      { numRuns: 200 },
    )
  })
})
