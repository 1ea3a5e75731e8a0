import { messageOf, RunError } from '../core/errors.ts'
import { maskPasswords } from './mask-passwords.ts'

/** What makes whatever is missing. */
export const CREATE = 'if it is not just misspelled, create it with reflex-bridge run CONFIG --create-tables'

/**
 * An error for people: its message, or with `stack` the stacks of it and of its causes. Passwords in URLs are masked; fields of
 * errors are not printed, since clients keep commands in them, and with those what they logged in with. What a program would have to
 * call is said in the words of the command line.
 */
export function describeError(error: unknown, { stack = false }: { readonly stack?: boolean } = {}): string {
  if (!stack) {
    const run = error instanceof RunError ? error : undefined
    const what = run === undefined ? error : run.cause // its own message begins with the name of the route
    const message = `${messageOf(what)}${silentCauses(what)}` || String(what)
    return maskPasswords(`${inWords(message)}${run === undefined ? '' : where(run)}`)
  }
  const stacks: string[] = []
  for (let each = error; each !== undefined && stacks.length < 10; each = (each as { cause?: unknown } | null)?.cause) {
    stacks.push(each instanceof Error ? (each.stack ?? each.message) : String(each))
  }
  return maskPasswords(stacks.join('\ncaused by: '))
}

function inWords(message: string): string {
  return message.replace(/create it with create(Table|Bucket)\(\)/, CREATE)
}

function where({ stage, eventId }: RunError): string {
  return ` (stage ${stage}${eventId === undefined ? '' : `, event ${eventId}`})`
}

/** Node says why none of a host's addresses could be connected to in the parts of an error without a message. */
function silentCauses(error: unknown): string {
  let root = error
  while (root instanceof Error && root.cause !== undefined) root = root.cause
  return root instanceof AggregateError && root.message === '' ? root.errors.map(messageOf).join(', ') : ''
}
