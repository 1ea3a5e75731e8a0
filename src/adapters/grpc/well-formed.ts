import { OptionError } from '../../core/errors.ts'

/** A name or a cursor, as it is. Throws an `OptionError` on one that would be another one when it arrives. */
export function wellFormed(text: string): string {
  if (text.isWellFormed()) return text
  throw new OptionError(
    `grpc: names and cursors must be well-formed Unicode to be sent, but found ${JSON.stringify(text)}`,
  )
}
