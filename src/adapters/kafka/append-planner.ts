/** How a batch is appended. */
export interface AppendPlan {
  readonly inTransaction: boolean
  /** As its checkpoint record says: what follows may go without a transaction, and no record tell of it. */
  readonly openEnded: boolean
}

/** What is to be appended. */
export interface PlannedBatch {
  /** How many events. */
  readonly count: number
  /**
   * This writer has appended to each of their partitions: the newest checkpoint record tells of it, and a partition that has lost its
   * tail since refuses what follows, by its sequence number or since the connection to its leader has broken.
   */
  readonly isKnown: boolean
  /** Nothing is to come soon. */
  readonly isLast: boolean
}

/** Decides which batches of a route need no transaction, as docs/adr/0018 tells. */
export interface AppendPlanner {
  /** Whether what this writer has appended last is open-ended. */
  isOpenEnded(): boolean
  next(batch: PlannedBatch): AppendPlan
  /** The planned one has been appended. */
  appended(plan: AppendPlan): void
}

/** So many events at most go without a transaction. The next opening may have to find as many. */
export const MOST_ALONE = 50
/** So soon after others; and after a transaction, since by one the coordinator sees whether another writer has taken over. In ms. */
const SOON_MS = 1000

/** With transactions for no batch, for each, or for those that need one. */
export function appendPlanner(transactions: 'none' | 'all' | 'needed'): AppendPlanner {
  let openEnded = false
  let [appendedAt, transactionAt] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY]
  return {
    isOpenEnded: () => openEnded,
    next: ({ count, isKnown, isLast }) => {
      if (transactions === 'none') return { inTransaction: false, openEnded: true }
      const now = performance.now()
      const isSmall = transactions === 'needed' && !isLast && count <= MOST_ALONE && now - appendedAt < SOON_MS
      const inTransaction = !(isSmall && isKnown && openEnded && now - transactionAt < SOON_MS)
      if (inTransaction) transactionAt = now
      return { inTransaction, openEnded: isSmall }
    },
    appended: (plan) => {
      appendedAt = performance.now()
      openEnded = plan.openEnded
    },
  }
}
