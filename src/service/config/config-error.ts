import { ReflexError } from '../../core/errors.ts'

/** One thing that is wrong in a configuration. */
export interface Problem {
  /** The keys that lead to it; empty for the whole. */
  readonly path: readonly string[]
  /** What was expected and what was found. */
  readonly message: string
  /** In the file, from 1; undefined where it is not known. */
  readonly line?: number | undefined
}

/** Everything that is wrong in a configuration, at once. */
export class ConfigError extends ReflexError {
  override readonly name = 'ConfigError'
  readonly problems: readonly Problem[]

  /** `title` names the configuration: its file. */
  constructor(title: string, problems: readonly Problem[]) {
    const [first, ...more] = problems.map(line)
    const message = more.length === 0 ? `${first}` : [`${problems.length} errors`, first, ...more].join('\n  ')
    super('CONFIG_INVALID', `${title}: ${message}`, {
      retriable: false,
    })
    this.problems = problems
  }
}

function line({ path, message, line }: Problem): string {
  return `${path.length === 0 ? '' : `${path.join('.')}: `}${message}${line === undefined ? '' : ` (line ${line})`}`
}
