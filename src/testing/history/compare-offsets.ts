/**
 * Negative, zero or positive as `a` stands before, at or after `b` in the log. An offset is one or more decimal numbers
 * without leading zeros, joined by `-`, and each is compared as a number of any size: Kafka offsets, JetStream sequences
 * and Redis entry ids (`<ms>-<seq>`) have their own order.
 *
 * @example ['10', '9'].sort(compareOffsets) // ['9', '10']
 * @example ['5-10', '5-9'].sort(compareOffsets) // ['5-9', '5-10']
 */
export function compareOffsets(a: string, b: string): number {
  const endOfA = a.indexOf('-')
  const endOfB = b.indexOf('-')
  if (endOfA < 0 && endOfB < 0) return compareDecimals(a, b)
  const first = compareDecimals(endOfA < 0 ? a : a.slice(0, endOfA), endOfB < 0 ? b : b.slice(0, endOfB))
  if (first !== 0) return first
  if (endOfA < 0 || endOfB < 0) return endOfA < 0 ? -1 : 1
  return compareOffsets(a.slice(endOfA + 1), b.slice(endOfB + 1))
}

/** Without leading zeros, the longer number is the greater one: no parsing, and no limit of 53 bits. */
function compareDecimals(a: string, b: string): number {
  if (a.length !== b.length) return a.length - b.length
  if (a === b) return 0
  return a < b ? -1 : 1
}
