/** What is written down while a schedule is played. */
export interface Steps {
  /** Begins a step; in words, as `append 3 events`. */
  step(words: string): void
  /** What came of the step; follows its words after an arrow. */
  result(words: string): void
  /** The subject refuses an option or an event, or does without a member that it need not have: what needs it is not tested. */
  refused(what: string): void
}

/** Steps that are kept. */
export interface KeptSteps extends Steps {
  readonly lines: readonly string[]
  readonly refusals: ReadonlySet<string>
}

/** Makes an empty record. */
export function keptSteps(): KeptSteps {
  const lines: string[] = []
  const refusals = new Set<string>()
  return {
    lines,
    refusals,
    step: (words) => {
      lines.push(words)
    },
    result: (words) => {
      lines.push(`${lines.pop() ?? ''} → ${words}`)
    },
    refused: (what) => {
      refusals.add(what)
    },
  }
}
