/** A value in JSON, with sequences, and what a double cannot hold, as bigint: they are 64-bit numbers. */
export function parseApiJson<T>(text: string): T {
  return JSON.parse(text, reviveSequences as (key: string, value: unknown) => unknown) as T
}

function reviveSequences(key: string, value: unknown, { source }: { readonly source: string }): unknown {
  if (typeof value !== 'number') return value
  return /(^|_)seq$|^num_pending$/.test(key) || (Number.isInteger(value) && !Number.isSafeInteger(value))
    ? BigInt(source)
    : value
}

/** JSON of a request; a bigint becomes a number of all its digits. */
export function apiJson(value: object): string {
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown }
  return JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? rawJSON(String(each)) : each))
}
