/** The ids of a log in their order, each with its number from 0 on. */
export interface SourceIds {
  /** How many there are. */
  readonly count: number
  /** Adds the id that follows all others; returns its number. */
  add(id: string): number
  /** The number of an id; undefined if it is not one of them. */
  find(id: string): number | undefined
  /** The id of a number that was given. */
  at(number: number): string
}

/** Ids that differ in the whole number at their end, which rises by one. */
interface Run {
  readonly prefix: string
  readonly start: number
  /** The number of its first id. */
  readonly first: number
}

/** No leading zeros, and few enough digits for a double: what is before them belongs to the prefix. */
const PARTS = /^(.*?)(0|[1-9]\d{0,14})$/s

/**
 * Makes an empty list. Neighbours take no memory of their own: it grows with the holes between the ids, not with the ids.
 * `compare` orders them.
 */
export function sourceIds(compare: (a: string, b: string) => number): SourceIds {
  const runs: Run[] = []
  let count = 0
  let next: string | undefined // what continues the last run
  const firstOf = ({ prefix, start }: Run): string => (start < 0 ? prefix : `${prefix}${start}`)

  /** The last run for which `isBefore` holds; it holds up to some run and for none after it. */
  const lastRun = (isBefore: (run: Run) => boolean): number => {
    let low = -1
    for (let high = runs.length; high - low > 1; ) {
      const middle = (low + high) >> 1
      if (isBefore(runs[middle] as Run)) low = middle
      else high = middle
    }
    return low
  }

  return {
    get count() {
      return count
    },
    add: (id) => {
      if (id !== next) {
        const [, prefix = id, digits] = PARTS.exec(id) ?? []
        runs.push({ prefix, start: digits === undefined ? -1 : Number(digits), first: count })
      }
      const { prefix, start, first } = runs.at(-1) as Run
      next = start < 0 ? undefined : `${prefix}${start + count - first + 1}`
      return count++
    },
    find: (id) => {
      const index = lastRun((run) => compare(firstOf(run), id) <= 0)
      const run = runs[index]
      if (run === undefined) return undefined
      const [, prefix = id, digits] = PARTS.exec(id) ?? []
      if (prefix !== run.prefix || (digits === undefined) !== run.start < 0) return undefined
      const offset = digits === undefined ? 0 : Number(digits) - run.start
      return offset < (runs[index + 1]?.first ?? count) - run.first ? run.first + offset : undefined
    },
    at: (number) => {
      const run = runs[lastRun(({ first }) => first <= number)] as Run
      return run.start < 0 ? run.prefix : `${run.prefix}${run.start + number - run.first}`
    },
  }
}
