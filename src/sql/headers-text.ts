import type { Headers } from '../core/event.ts'

const noHeaders: Headers = Object.freeze({})

/** Headers as the JSON object that stands in a table; null if there are none. */
export function formatHeaders(headers: Headers | undefined): string | null {
  for (const _ in headers) return JSON.stringify(headers)
  return null
}

/** The headers in a table's JSON object. Throws if it is anything else than strings and arrays of strings by name. */
export function parseHeaders(text: string | null): Headers {
  if (text === null) return noHeaders
  const headers: unknown = JSON.parse(text)
  if (typeof headers === 'object' && headers !== null && !Array.isArray(headers)) {
    if (Object.values(headers).every(isHeaderValue)) return headers as Headers
  }
  throw new TypeError('headers must be a JSON object of strings and arrays of strings')
}

function isHeaderValue(value: unknown): boolean {
  return typeof value === 'string' || (Array.isArray(value) && value.every((each) => typeof each === 'string'))
}
