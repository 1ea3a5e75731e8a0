import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isLoopback, type Listen } from './listen.ts'
import { Refusal } from './refusal.ts'

/** What is asked for: the page without any data, whether it lives or is ready, what the routes do, or that they do something. */
export type Wish = 'page' | 'probe' | 'data' | 'action'

/** Says who may have what. */
export interface Gate {
  /** Throws a `Refusal` if it is not for the sender. The page and the probes need no token, since they hold nothing of worth. */
  check(request: Pick<IncomingMessage, 'headers'>, wish: Wish): void
  /** Whether it has the token, or none is needed. */
  trusts(request: Pick<IncomingMessage, 'headers'>): boolean
}

/**
 * Makes the gate of a server.
 *
 * A page of another site that is open in an operator's browser can send requests here as well: it is told by the headers that a
 * browser sets, and by the name that it knows this server by, which on loopback is never another one than this machine's, unless
 * a proxy stands before it; that needs a token, which such a page has not.
 */
export function gate({ host, token }: Listen): Gate {
  const local = isLoopback(host) && token === undefined
  const wanted = token === undefined ? undefined : digest(token)
  const trusts: Gate['trusts'] = ({ headers }) =>
    wanted === undefined || timingSafeEqual(wanted, digest(bearer(headers.authorization)))
  return {
    trusts,
    check: (request, wish) => {
      const { headers } = request
      if (local && headers.host !== undefined && !isLoopback(withoutPort(headers.host)))
        throw new Refusal(421, 'expected to be asked for as localhost or 127.0.0.1, found another name in Host')
      if (wish === 'page' || wish === 'probe') return
      const site = headers['sec-fetch-site']
      if (site !== undefined && site !== 'same-origin' && !(site === 'none' && wish === 'data'))
        throw new Refusal(403, 'expected a request of the dashboard itself, found one of another site (Sec-Fetch-Site)')
      if (headers.origin !== undefined && !isSameOrigin(headers.origin, headers.host))
        throw new Refusal(403, 'expected a request of the dashboard itself, found one of another site (Origin)')
      if (!trusts(request)) {
        const challenge = { 'www-authenticate': 'Bearer realm="reflex-bridge"' }
        throw new Refusal(401, 'expected Authorization: Bearer with the token of the configuration', challenge)
      }
      if (wish === 'action' && !/^application\/json\s*(;|$)/i.test(headers['content-type'] ?? ''))
        throw new Refusal(415, 'expected Content-Type: application/json')
    },
  }
}

/** Of one length, so that how long the comparison takes tells nothing. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

function bearer(authorization: string | undefined): string {
  return /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1] ?? ''
}

function withoutPort(host: string): string {
  return host.replace(/:\d+$/, '')
}

/** The scheme may differ: behind a proxy that ends TLS. */
function isSameOrigin(origin: string, host: string | undefined): boolean {
  return URL.canParse(origin) && new URL(origin).host.toLowerCase() === host?.toLowerCase()
}
