import { codeOf, messageOf } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'

/** A number of things in words. */
export function countOf(count: number | bigint, thing: string): string {
  return `${count} ${thing}${Number(count) === 1 ? '' : 's'}`
}

/** An event in words: its id, and whose it is. */
export function eventInWords({ id, foreignId }: Event): string {
  const whose = String(foreignId)
  return `${JSON.stringify(id)} of ${JSON.stringify(whose.length > 30 ? `${whose.slice(0, 30)}…` : whose)}`
}

/** An error in words: its code, and in brackets what it says. */
export function errorInWords(error: unknown): string {
  return `${codeOf(error) ?? 'an error without a code'} (${messageOf(error).replace(/\.$/, '')})`
}
