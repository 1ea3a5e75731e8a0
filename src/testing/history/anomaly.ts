import type { HistoryValue } from './history-operation.ts'

/**
 * What can be wrong with a log: the names are those of Jepsen's kafka workload (`jepsen.tests.kafka`), `aborted-read` being
 * its G1a. An `int-` anomaly happens within one operation or transaction, the one without it across them. `int-send-skip` is
 * looked for only with the option `contiguous`.
 */
export type AnomalyKind =
  | 'lost-write'
  | 'unseen'
  | 'duplicate'
  | 'inconsistent-offsets'
  | 'poll-skip'
  | 'int-poll-skip'
  | 'nonmonotonic-poll'
  | 'int-nonmonotonic-poll'
  | 'nonmonotonic-send'
  | 'int-nonmonotonic-send'
  | 'int-send-skip'
  | 'aborted-read'
  | 'precommitted-read'

/** One sentence for each kind: what is wrong, and why that matters. In the order of a report, the worst first. */
export const anomalyMessages: Readonly<Record<AnomalyKind, string>> = {
  'lost-write':
    'Readers passed the offset at which a value was acknowledged and nobody ever got it: data that its sender believes to be safe is gone.',
  'inconsistent-offsets':
    'An offset holds two values, or a value is not where its acknowledgement says: a position saved by one client means something else to another.',
  'aborted-read':
    'A value whose send failed, or whose transaction was aborted, was read: readers act upon what never happened.',
  'precommitted-read':
    'A client read a value of its own transaction before it asked to commit: readers see what may yet be aborted.',
  'poll-skip':
    'From one poll to the next a reader jumped over values that exist, without a seek: it will never handle them.',
  'int-poll-skip': 'Within one poll or transaction a reader jumped over values that exist: it will never handle them.',
  'nonmonotonic-poll':
    'From one poll to the next a reader went back without a seek: it handles values again, or in the wrong order.',
  'int-nonmonotonic-poll':
    'Within one poll or transaction a reader went back: it handles values again, or in the wrong order.',
  'nonmonotonic-send':
    'A later send of a producer stands before an earlier one: readers see its values in another order than it sent them.',
  'int-nonmonotonic-send':
    'Within one send or transaction a later value stands before an earlier one: readers see them in another order than they were sent.',
  'int-send-skip':
    'Values of others stand among those of one send or transaction: it does not take effect as one, as this log is said to promise.',
  duplicate: 'A value stands at more than one offset: every reader handles it more than once.',
  unseen:
    'A value was acknowledged, but nobody had read it when the history ended: it is lost at the tail, or readers are stuck.',
}

/** One place where it is wrong. */
export interface AnomalyEvidence {
  readonly partition: string
  /** Indexes of the operations that prove it. */
  readonly operations: readonly number[]
  readonly offsets: readonly string[]
  readonly values: readonly HistoryValue[]
  /** The same in words. */
  readonly detail: string
}

/** All that was found of one kind. */
export interface Anomaly {
  readonly kind: AnomalyKind
  readonly message: string
  /** How often it was found. */
  readonly count: number
  /** True if the caller allows this kind. */
  readonly allowed: boolean
  /** The first of them. */
  readonly evidence: readonly AnomalyEvidence[]
}
