import { codeOf, messageOf } from '../../core/errors.ts'
import { maskPasswords } from '../../service/mask-passwords.ts'

/** What can be told of an error between threads. */
export interface PlainError {
  readonly message: string
  readonly code?: string | undefined
  readonly stack?: string | undefined
}

/** An error as plain data, since classes do not survive the way between threads. Passwords in URLs are masked. */
export function plainError(error: unknown): PlainError {
  const stack = error instanceof Error ? maskPasswords(error.stack ?? '') : undefined
  return { message: maskPasswords(messageOf(error)), code: codeOf(error), stack }
}
