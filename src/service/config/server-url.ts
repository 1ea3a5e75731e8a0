/** The parts of a server's URL, decoded. */
export interface ServerUrl {
  readonly protocol: string
  readonly user: string | undefined
  readonly password: string | undefined
  readonly host: string
  readonly port: number
  /** The path without its leading `/`; empty if there is none. */
  readonly path: string
  /** The URL up to the path in one form, without the password: `redis://user@127.0.0.1:6379`. */
  readonly origin: string
}

/** Why a URL may not be read as it was meant. */
export const encodingHint =
  'if its password holds / : @ ? # or %, percent-encode them, or give the password as it is under password, beside the url'

/** Takes a server's URL apart. Throws a RangeError that says what was expected, and does not quote the URL, which may hold a password. */
export function serverUrl(
  url: string,
  { form, port: usual }: { readonly form: string; readonly port: number },
): ServerUrl {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (parsed === undefined || parsed.hostname === '' || parsed.hash !== '') {
    throw new RangeError(
      `expected a URL like ${form}, found something else after ${url.split(':')[0]}: (${encodingHint})`,
    )
  }
  const { protocol, username, password, hostname, pathname } = parsed
  const port = parsed.port === '' ? usual : Number(parsed.port)
  try {
    return {
      protocol,
      user: username === '' ? undefined : decodeURIComponent(username),
      password: password === '' ? undefined : decodeURIComponent(password),
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      port,
      path: decodeURIComponent(pathname.slice(1)),
      origin: `${protocol}//${username === '' ? '' : `${username}@`}${hostname}:${port}`,
    }
  } catch {
    throw new RangeError('expected two hexadecimal digits after each %: write a plain % as %25')
  }
}
