/** One line of the report: ours beside what it is held against, measured in turns in one process. */
export interface Result {
  readonly case: string
  readonly ours: number
  readonly reference: number
  readonly referenceName: string
  /** `ours / reference`: for rates more is better, for times less. */
  readonly ratio: number
  readonly unit: string
}

/** A case to measure. Both members return one figure in `unit`. */
export interface Comparison {
  readonly case: string
  readonly referenceName: string
  readonly unit: string
  readonly ours: () => Promise<number>
  readonly reference: () => Promise<number>
}

const ROUNDS = 7

/** Measures both in turns, after a round to warm up, and takes the medians: machines are noisy. */
export async function compare({ case: name, referenceName, unit, ours, reference }: Comparison): Promise<Result> {
  const figures = { ours: [] as number[], reference: [] as number[] }
  for (let round = -1; round < ROUNDS; round++) {
    for (const [side, measure] of [
      ['ours', ours],
      ['reference', reference],
    ] as const) {
      const figure = await measure()
      if (round >= 0) figures[side].push(figure)
    }
  }
  const [a, b] = [median(figures.ours), median(figures.reference)]
  return { case: name, ours: round3(a), reference: round3(b), referenceName, ratio: round3(a / b), unit }
}

/** Events a second of something that takes `count` of them. */
export async function rate(count: number, work: () => Promise<unknown>): Promise<number> {
  const started = performance.now()
  await work()
  return (count / (performance.now() - started)) * 1000
}

/** The value below which a share of `values` lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

const median = (values: readonly number[]): number => quantile(values, 0.5)
const round3 = (value: number): number => Number(value.toPrecision(3))
