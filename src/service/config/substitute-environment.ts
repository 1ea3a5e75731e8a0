/** The environment variables of a process. */
export type Environment = Readonly<Record<string, string | undefined>>

/**
 * Replaces `${NAME}` and `${NAME:-default}` (for a variable that is not set, or empty) by the environment's values; `$${` stands for `${`.
 * What is put in is not looked at again. Throws a RangeError that names the variable that is not set.
 */
export function substituteEnvironment(text: string, environment: Environment): string {
  return text.replace(/\$\$\{|\$\{([^}]*)\}?/g, (whole, reference: string | undefined) => {
    if (reference === undefined) return '${'
    const [, name, fallback] = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s.exec(reference) ?? []
    if (name === undefined || !whole.endsWith('}')) {
      throw new RangeError(`expected \${NAME} or \${NAME:-default}, found ${whole} (write $\${ for a plain \${)`)
    }
    const value = environment[name]
    if (fallback !== undefined) return value || fallback
    if (value === undefined) {
      throw new RangeError(`the environment variable ${name} is not set: set it, or write \${${name}:-default}`)
    }
    return value
  })
}
