/** Whether every subject that `subject` stands for, wildcards and all, is one that `pattern` matches. */
export function subjectCovers(pattern: string, subject: string): boolean {
  const expected = pattern.split('.')
  const tokens = subject.split('.')
  for (const [i, token] of expected.entries()) {
    if (token === '>') return tokens.length > i
    const found = tokens[i]
    if (found === undefined || found === '>' || (token !== '*' && token !== found)) return false
  }
  return expected.length === tokens.length
}
