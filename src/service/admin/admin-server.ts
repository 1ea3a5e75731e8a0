import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { codeOf, OptionError, ReflexError } from '../../core/errors.ts'
import type { RouteActions } from '../control/route-actions.ts'
import { describeError } from '../describe-error.ts'
import { adminPaths } from './admin-paths.ts'
import type { AdminRoute } from './admin-route.ts'
import { dashboardFiles } from './dashboard-files.ts'
import { gate } from './gate.ts'
import { type Listen, refuseListen } from './listen.ts'
import { liveUpdates } from './live-updates.ts'
import { Refusal } from './refusal.ts'
import { type Answer, jsonAnswer, respond } from './respond.ts'
import { type RoutesJson, routeJson } from './route-json.ts'
import type { RouteMeters } from './route-meters.ts'
import { routeSamples } from './route-samples.ts'

/** Options of `startAdmin`. */
export interface AdminOptions {
  /** Starts the routes. Called once, when the server listens: where it cannot, none has been started. */
  readonly startRoutes: () => readonly AdminRoute[]
  /** What the buttons do. */
  readonly actions: RouteActions
  /** What the routes' observers have counted. */
  readonly meters: RouteMeters
  readonly listen: Listen
  /** A route that has events to forward and makes no progress for so long is not ready, in ms. Default: 60,000. */
  readonly readyAfterMs?: number | undefined
  /** Those who listen get the state so often, in ms. Default: 1000. */
  readonly updateEveryMs?: number | undefined
  /** Is told of every action that somebody asked for. */
  readonly onNote?: ((text: string) => void) | undefined
}

/** An admin server at work; disposing of it ends every connection. */
export interface AdminServer extends AsyncDisposable {
  /** Where it listens: `http://127.0.0.1:9464/`. */
  readonly url: string
}

/** What slow or many clients can take up. */
const limits = {
  maxHeaderSize: 8192,
  headersTimeout: 3000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
}
const IDLE_MS = 30_000
const CONNECTIONS = 100
const LISTENERS = 16
/** Requests that are still under way at the end are cut after this. */
const CLOSE_WITHIN_MS = 500

/**
 * Serves probes (`/livez`, `/readyz`), metrics (`/metrics`), the state of the routes (`/routes`, and as server-sent events `/events`),
 * the actions (`POST /routes/NAME/pause|resume|stop`) and the dashboard (`/`). Resolves once it listens. Throws an `OptionError` for a
 * port that others can reach without a token, and `ADMIN_CANNOT_LISTEN` where it cannot listen.
 */
export async function startAdmin({
  startRoutes,
  actions,
  meters,
  listen,
  readyAfterMs = 60_000,
  updateEveryMs = 1000,
  onNote,
}: AdminOptions): Promise<AdminServer> {
  const refused = refuseListen(listen)
  if (refused !== undefined) throw new OptionError(`admin.${refused.key}: ${refused.message}`)
  const guard = gate(listen)
  const files = await dashboardFiles()
  const server = createServer(limits)
  server.timeout = IDLE_MS
  server.maxConnections = CONNECTIONS
  await listening(server, listen)

  const routes = startRoutes()
  const samples = routeSamples(routes, { readyAfterMs })
  const state = async (): Promise<RoutesJson> => ({
    at: Date.now(),
    routes: (await samples.take()).map((sample) => routeJson(sample, meters)),
  })
  const live = liveUpdates(async () => JSON.stringify(await state()), { everyMs: updateEveryMs, listeners: LISTENERS })
  const find = adminPaths({ routes, actions, meters, samples, live, files, gate: guard, state, onNote })

  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<Answer | undefined> => {
    const { method, url = '/' } = request
    const found = find(url.split('?')[0] ?? '/')
    if (found === undefined)
      throw new Refusal(404, 'expected /, /livez, /readyz, /metrics, /routes or /events, found another path')
    if (method !== found.method && !(found.method === 'GET' && method === 'HEAD'))
      throw new Refusal(405, `expected ${found.method}, found ${method}`, { allow: found.method })
    guard.check(request, found.wish)
    return found.answer(request, response)
  }
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    try {
      const given = await answer(request, response)
      if (given !== undefined) respond(response, given)
    } catch (error) {
      if (response.headersSent || response.destroyed) return // who asked has gone
      if (!request.complete) response.shouldKeepAlive = false // the rest of a body that nobody wants is not read
      respond(response, failure(error))
    }
  }
  server.on('request', (request, response) => void serve(request, response))

  return {
    url: urlOf(listen.host, server.address() as AddressInfo),
    [Symbol.asyncDispose]: async () => {
      samples[Symbol.dispose]()
      live[Symbol.dispose]()
      const cut = setTimeout(() => server.closeAllConnections(), CLOSE_WITHIN_MS)
      await new Promise<void>((resolve) => server.close(() => resolve()))
      clearTimeout(cut)
    },
  }
}

async function listening(server: Server, { host, port }: Listen): Promise<void> {
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: bare(host), port }, () => {
        server.off('error', reject)
        resolve()
      })
    })
  } catch (cause) {
    const { code = '', message } = cause as NodeJS.ErrnoException
    const why =
      {
        EADDRINUSE: 'another process listens there already: end it, or set another admin.port',
        EACCES: 'this user may not: set an admin.port of 1024 or above',
        EADDRNOTAVAIL: 'it is no address of this machine: set another admin.host',
        ENOTFOUND: 'there is no host of this name: set another admin.host',
      }[code] ?? message
    throw new ReflexError(
      'ADMIN_CANNOT_LISTEN',
      `the admin server cannot listen on ${host}:${port}: ${why} (${code})`,
      {
        cause,
        retriable: false,
      },
    )
  }
}

function failure(error: unknown): Answer {
  if (error instanceof Refusal) return jsonAnswer(error.status, { error: { message: error.message } }, error.headers)
  return jsonAnswer(500, { error: { code: codeOf(error), message: describeError(error) } })
}

function urlOf(host: string, { port }: AddressInfo): string {
  const name = bare(host)
  return `http://${name.includes(':') ? `[${name}]` : name}:${port}/`
}

/** An address of IPv6 without its brackets. */
function bare(host: string): string {
  return host.replace(/^\[(.*)\]$/, '$1')
}
