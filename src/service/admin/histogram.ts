/** Counts of observations at or below each bound. */
export interface Histogram {
  /** Rising; the last bucket, `+Inf`, is all of `count`. */
  readonly bounds: readonly number[]
  /** Observations at or below the bound of the same index, those of lower bounds included. */
  cumulative(): readonly number[]
  readonly count: number
  readonly sum: number
  observe(value: number): void
}

/** An empty histogram. */
export function histogram(bounds: readonly number[]): Histogram {
  const counts = bounds.map(() => 0)
  let count = 0
  let sum = 0
  return {
    bounds,
    cumulative: () => {
      let below = 0
      return counts.map((each) => {
        below += each
        return below
      })
    },
    get count() {
      return count
    },
    get sum() {
      return sum
    },
    observe: (value) => {
      const i = bounds.findIndex((bound) => value <= bound)
      if (i >= 0) counts[i] = (counts[i] ?? 0) + 1
      count++
      sum += value
    },
  }
}
