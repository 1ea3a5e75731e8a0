/** Where the admin server listens. */
export interface Listen {
  /** A name or an address of this machine. */
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** What a client sends as `Authorization: Bearer TOKEN`; needed wherever other machines can reach the port. */
  readonly token?: string | undefined
}

/** Shorter ones can be guessed. */
const SHORTEST_TOKEN = 16

/** Whether only this machine can reach it. */
export function isLoopback(host: string): boolean {
  return /^(localhost|\[?::1\]?|127(\.\d{1,3}){3})$/i.test(host)
}

/** Why it is refused: the key that is wrong, and what was expected and found. Undefined if all is well. The token is not quoted. */
export function refuseListen({ host, token }: Listen): { readonly key: 'token'; readonly message: string } | undefined {
  if (token === undefined) {
    if (isLoopback(host)) return undefined
    const message = `expected a token of at least ${SHORTEST_TOKEN} characters, found nothing: other machines can reach ${host}, and with it pause and stop routes`
    return { key: 'token', message }
  }
  if (token.length < SHORTEST_TOKEN) {
    const message = `expected at least ${SHORTEST_TOKEN} characters, found ${token.length}: a shorter one can be guessed`
    return { key: 'token', message }
  }
  if (!/^[\x21-\x7e]+$/.test(token)) {
    const message =
      'expected letters, digits and signs of ASCII without spaces, since it travels in a header, found others'
    return { key: 'token', message }
  }
  return undefined
}
