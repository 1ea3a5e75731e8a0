import { OptionError } from '../../core/errors.ts'

/** Refuses a name of a stream or bucket that NATS would refuse, or read as part of a subject. */
export function checkName(what: string, option: string, name: unknown): void {
  if (typeof name === 'string' && /^[^\s.*>/\\\p{Cc}]+$/u.test(name)) return
  throw new OptionError(
    `${what}: ${option} must be a name without spaces, dots, *, >, / or \\, but is ${JSON.stringify(name)}`,
  )
}

/** Refuses what is not a factory of connections, for example a connection itself. */
export function checkConnect(log: string, connect: unknown): void {
  if (typeof connect === 'function') return
  throw new OptionError(
    `${log}: connect must be a function that makes a fresh connection: () => connect({ servers, ...jetstreamFailFast })`,
  )
}

/** Refuses subjects, with or without wildcards, that are none. */
export function checkSubjects(log: string, subjects: readonly string[] | undefined): void {
  if (subjects === undefined) return
  if (!Array.isArray(subjects) || subjects.length === 0)
    throw new OptionError(`${log}: subjects must be a list of at least one subject, or be left out for all`)
  for (const subject of subjects) {
    const tokens = typeof subject === 'string' ? subject.split('.') : ['']
    if (tokens.every((token, i) => isToken(token) || token === '*' || (token === '>' && i === tokens.length - 1)))
      continue
    throw new OptionError(`${log}: subjects must be subjects like orders.>, but one is ${JSON.stringify(subject)}`)
  }
}

/** Refuses a subject that is not one without wildcards. */
export function checkPrefix(log: string, subject: unknown): void {
  if (typeof subject === 'string' && !subject.startsWith('$') && subject.split('.').every(isToken)) return
  throw new OptionError(
    `${log}: subject must be one without wildcards, like orders, below which each type has its own, but is ${JSON.stringify(subject)}`,
  )
}

/** Whether a subject without wildcards can have this token. */
export function isToken(token: string): boolean {
  return /^[^\s*>\p{Cc}]+$/u.test(token)
}

/** Whether there is a subject that both match. */
export function overlap(one: string, other: string): boolean {
  const [a, b] = [one.split('.'), other.split('.')]
  for (const [i, token] of a.entries()) {
    const beside = b[i]
    if (beside === undefined) return false
    if (token === '>' || beside === '>') return true
    if (token !== beside && token !== '*' && beside !== '*') return false
  }
  return a.length === b.length
}

/** Whether every subject that `inner` matches is matched by `outer` too. */
export function covers(outer: string, inner: string): boolean {
  const [a, b] = [outer.split('.'), inner.split('.')]
  for (const [i, token] of a.entries()) {
    if (token === '>') return b.length > i
    if (b[i] === undefined || b[i] === '>') return false
    if (token !== '*' && token !== b[i]) return false
  }
  return a.length === b.length
}
