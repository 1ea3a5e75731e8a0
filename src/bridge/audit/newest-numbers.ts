/** The largest number of each name, of the names that were added last. */
export interface NewestNumbers {
  add(name: string, number: number): void
  /** The largest number of a name, -1 if it has none; `unless` if the name may have been forgotten. */
  get(name: string, unless: number): number
}

/** Makes an empty list of at most so many names. */
export function newestNumbers(most: number): NewestNumbers {
  const newest = new Map<string, number>()
  let hasForgotten = false
  return {
    add: (name, number) => {
      const known = newest.get(name)
      if (known === undefined && newest.size >= most) {
        const [oldest] = newest.keys()
        newest.delete(oldest as string)
        hasForgotten = true
      }
      if (known === undefined || known < number) newest.set(name, number)
    },
    get: (name, unless) => newest.get(name) ?? (hasForgotten ? unless : -1),
  }
}
