/** Counts of observations at or below each bound. */
export interface Histogram {
  /** Rising; the last bucket, `+Inf`, is all of `count`. */
  readonly bounds: readonly number[]
  /** Observations at or below the bound of the same index, those of lower bounds included. */
  cumulative(): readonly number[]
  readonly count: number
  readonly sum: number
  /** Takes note of `times` observations of one value; default: 1. */
  observe(value: number, times?: number): void
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
    observe: (value, times = 1) => {
      let i = 0
      while (i < bounds.length && value > (bounds[i] as number)) i++
      if (i < bounds.length) counts[i] = (counts[i] as number) + times
      count += times
      sum += value * times
    },
  }
}
