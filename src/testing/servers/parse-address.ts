import type { Address } from './server.ts'

/** Host and port of a URL given in the environment. Throws a TypeError that names the variable and the expected form, never the URL's password. */
export function parseAddress(
  variable: string,
  url: string,
  protocols: readonly string[],
  defaultPort: number,
): Address {
  const parsed = URL.parse(url)
  if (parsed === null || !protocols.includes(parsed.protocol) || parsed.hostname === '') {
    throw new TypeError(
      `${variable}: expected a URL like ${protocols[0]}//127.0.0.1:${defaultPort}, got ${describe(url, parsed)}`,
    )
  }
  return { host: parsed.hostname.replace(/^\[|\]$/g, ''), port: parsed.port === '' ? defaultPort : Number(parsed.port) }
}

function describe(url: string, parsed: URL | null): string {
  if (parsed === null) return url.includes('@') ? 'something that is not a URL' : JSON.stringify(url)
  return `${parsed.protocol}//${parsed.host}`
}
