import { codeOf, messageOf, ReflexError } from '../../core/errors.ts'

/**
 * An error of a destination, retriable where the table or the file is not there: whoever removed it, or misspelled it, mends that
 * outside, as with a topic or a stream.
 */
export function waitedFor(error: unknown): unknown {
  switch (codeOf(error)) {
    case 'TABLE_MISSING':
      return new ReflexError('TABLE_MISSING', messageOf(error), { cause: error })
    case 'SQLITE_CANNOT_OPEN':
      return new ReflexError('SQLITE_CANNOT_OPEN', messageOf(error), { cause: error })
    default:
      return error
  }
}
