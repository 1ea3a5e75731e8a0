import { ReflexError } from './errors.ts'

/** What a sink does about a destination that can lose what it has acknowledged. */
export interface AuditOptions {
  /** Refuse such a destination with `DESTINATION_AT_RISK`, instead of noting the risk. Default: false. */
  readonly strict?: boolean | undefined
  /** Is told each risk, once, and what else an operator should know. Must not throw. Default: nobody. */
  readonly note?: ((text: string) => void) | undefined
}

/** Holds the risks of a destination against the options of its sink; is asked on each open. */
export interface Auditor {
  /** Notes what an operator should know, once. */
  note(text: string): void
  /** Notes each of `risks`; throws a `ReflexError` that names all of them if the sink is strict. */
  judge(risks: readonly string[]): void
}

/** Makes the auditor of a destination that is called `log`. Each of `risks` says what is set, and what it can lose. */
export function auditor(log: string, { strict = false, note }: AuditOptions): Auditor {
  const noted = new Set<string>()
  const tell = (text: string): void => {
    if (!noted.has(text)) note?.(text)
    noted.add(text)
  }
  return {
    note: tell,
    judge: (risks) => {
      if (strict && risks.length > 0)
        throw new ReflexError(
          'DESTINATION_AT_RISK',
          `${log}: refused, since the sink is strict and ${risks.join('; ')}. Change that, or leave strict out to go on with a warning.`,
          { retriable: false },
        )
      for (const risk of risks) tell(`${log}: ${risk}`)
    },
  }
}
