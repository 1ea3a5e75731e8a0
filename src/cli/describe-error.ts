import { messageOf } from '../core/errors.ts'
import { maskPasswords } from '../service/mask-passwords.ts'

/**
 * An error for people: its message, or with `stack` the stacks of it and of its causes. Passwords in URLs are masked; fields of
 * errors are not printed, since clients keep commands in them, and with those what they logged in with.
 */
export function describeError(error: unknown, { stack = false }: { readonly stack?: boolean } = {}): string {
  if (!stack) return maskPasswords(messageOf(error) || String(error))
  const stacks: string[] = []
  for (let each = error; each !== undefined && stacks.length < 10; each = (each as { cause?: unknown } | null)?.cause) {
    stacks.push(each instanceof Error ? (each.stack ?? each.message) : String(each))
  }
  return maskPasswords(stacks.join('\ncaused by: '))
}
