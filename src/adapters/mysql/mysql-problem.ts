/** Something that is wrong with an event table, an account or a server. */
export interface MysqlProblem {
  /** `error`: something is refused, or events can be lost. `warning`: there is a limit or a cost to know of. */
  readonly severity: 'error' | 'warning'
  /** What is wrong. */
  readonly found: string
  /** Why it matters. */
  readonly why: string
  /** What mends it, to be run in this order by someone who may; empty where no statement does. */
  readonly statements: readonly string[]
}
