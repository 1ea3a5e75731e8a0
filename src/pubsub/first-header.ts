import type { Headers } from '../core/event.ts'

/** The value of a header, the first if it stands more than once; undefined if there is none of the name. */
export function firstHeader(headers: Headers, name: string): string | undefined {
  const value = Object.hasOwn(headers, name) ? headers[name] : undefined
  return typeof value === 'string' ? value : value?.[0]
}
