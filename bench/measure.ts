/** One line of the report: ours beside what it is held against: measured in turns in one process, or a limit. */
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

/** Cases that are measured together: both members return a figure for each of `cases`. */
export interface Comparisons extends Omit<Comparison, 'case' | 'ours' | 'reference'> {
  readonly cases: readonly string[]
  /** How often each side is measured, after a round to warm up. Default: 7. */
  readonly rounds?: number
  readonly ours: () => Promise<readonly number[]>
  readonly reference: () => Promise<readonly number[]>
}

/** Measures both in turns, after a round to warm up, and takes the medians: machines are noisy. */
export async function compare({ case: name, ours, reference, ...rest }: Comparison): Promise<Result> {
  const [result] = await compareEach({
    ...rest,
    cases: [name],
    ours: async () => [await ours()],
    reference: async () => [await reference()],
  })
  return result as Result
}

/** As `compare`, for several figures of one measurement. */
export async function compareEach({
  cases,
  referenceName,
  unit,
  rounds = 7,
  ours,
  reference,
}: Comparisons): Promise<Result[]> {
  const figures = { ours: [] as (readonly number[])[], reference: [] as (readonly number[])[] }
  for (let round = -1; round < rounds; round++) {
    const sides = [['ours', ours] as const, ['reference', reference] as const]
    // Each goes first in turn: what one leaves to the garbage collector, the other pays for.
    for (const [side, measure] of round % 2 === 0 ? sides : sides.reverse()) {
      const figure = await measure()
      if (round >= 0) figures[side].push(figure)
    }
  }
  return cases.map((name, i) => {
    const [a, b] = [medianAt(figures.ours, i), medianAt(figures.reference, i)]
    return { case: name, ours: round3(a), reference: round3(b), referenceName, ratio: round3(a / b), unit }
  })
}

/** A figure that was measured by itself, held against a limit or against another one. */
export function against(figure: Omit<Result, 'ratio'>): Result {
  const { ours, reference } = figure
  return { ...figure, ours: round3(ours), reference: round3(reference), ratio: round3(ours / reference) }
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
const medianAt = (rounds: readonly (readonly number[])[], i: number): number =>
  median(rounds.map((figures) => figures[i] ?? Number.NaN))
const round3 = (value: number): number => Number(value.toPrecision(3))
