import type { IncomingMessage, ServerResponse } from 'node:http'
import { untilAborted } from '../../core/abort.ts'
import { prometheusText, prometheusType } from '../../observers/prometheus-text.ts'
import type { RouteActions } from '../control/route-actions.ts'
import { maskPasswords } from '../mask-passwords.ts'
import type { AdminRoute } from './admin-route.ts'
import type { Gate, Wish } from './gate.ts'
import type { LiveUpdates } from './live-updates.ts'
import { readBody } from './read-body.ts'
import { Refusal } from './refusal.ts'
import { type Answer, commonHeaders, jsonAnswer } from './respond.ts'
import type { RoutesJson } from './route-json.ts'
import type { RouteMeters } from './route-meters.ts'
import { routeMetrics } from './route-metrics.ts'
import type { RouteSamples } from './route-samples.ts'

/** What is found under one path. */
export interface AdminPath {
  readonly method: 'GET' | 'POST'
  readonly wish: Wish
  /** Undefined if the response was taken over. */
  answer(request: IncomingMessage, response: ServerResponse): Promise<Answer | undefined>
}

/** What the paths show, and what they act on. */
export interface AdminPathsOptions {
  readonly routes: readonly AdminRoute[]
  readonly actions: RouteActions
  readonly meters: RouteMeters
  readonly samples: RouteSamples
  readonly live: LiveUpdates
  readonly files: ReadonlyMap<string, { readonly type: string; readonly body: string }>
  readonly gate: Gate
  readonly state: () => Promise<RoutesJson>
  readonly onNote?: ((text: string) => void) | undefined
}

const BODY_BYTES = 16_384
/** An action that is not carried out within this is answered with 504. */
const ACTION_WITHIN_MS = 15_000

/** Finds what a path stands for; undefined for one that stands for nothing. */
export function adminPaths(options: AdminPathsOptions): (path: string) => AdminPath | undefined {
  const { meters, samples, live, files, gate, state } = options
  const get = (wish: Wish, answer: AdminPath['answer']): AdminPath => ({ method: 'GET', wish, answer })
  const paths: Readonly<Record<string, AdminPath>> = {
    '/livez': get('probe', async () => jsonAnswer(200, { alive: true })),
    '/readyz': get('probe', async (request) => readiness(samples, gate.trusts(request))),
    '/metrics': get('data', async () => {
      const body = prometheusText(routeMetrics(await samples.take(), meters))
      return { status: 200, type: prometheusType, body }
    }),
    '/routes': get('data', async () => jsonAnswer(200, await state())),
    '/events': get('data', async (_, response) => {
      live.join(response, commonHeaders)
      return undefined
    }),
  }
  return (path) => {
    const file = files.get(path)
    if (file !== undefined) return get('page', async () => ({ status: 200, ...file }))
    const [, route, action] = /^\/routes\/([^/]+)\/(pause|resume|stop)$/.exec(path) ?? []
    if (route === undefined) return Object.hasOwn(paths, path) ? paths[path] : undefined
    const answer: AdminPath['answer'] = (request) => act(route, action as keyof RouteActions, request, options)
    return { method: 'POST', wish: 'action', answer }
  }
}

/** A probe needs no token; the names of routes, and who holds them up, are not for everybody. */
async function readiness(samples: RouteSamples, trusted: boolean): Promise<Answer> {
  const taken = await samples.take()
  const missing = taken.filter(({ verdict }) => !verdict.ready).length
  const ready = missing === 0
  const details = taken.map(({ route: { name }, verdict }) => ({
    name,
    ...verdict,
    ...(verdict.ready ? {} : { reason: maskPasswords(verdict.reason) }),
  }))
  return jsonAnswer(ready ? 200 : 503, {
    ready,
    ...(ready ? {} : { reason: `${missing} of ${taken.length} routes not ready` }),
    ...(trusted ? { routes: details } : {}),
  })
}

async function act(
  route: string,
  action: keyof RouteActions,
  request: IncomingMessage,
  { routes, actions, onNote }: AdminPathsOptions,
): Promise<Answer> {
  const from = request.socket.remoteAddress
  const body = (await readBody(request, BODY_BYTES)).trim()
  if (body !== '' && body !== '{}') throw new Refusal(400, 'expected {} or nothing as the body: the path says all')
  if (!routes.some(({ name }) => name === route)) {
    const known = routes.map(({ name }) => name).join(', ')
    throw new Refusal(404, `expected one of the routes ${known}, found another name`)
  }
  onNote?.(`admin server: ${action} ${route}, asked for from ${from}`)
  const limit = AbortSignal.timeout(ACTION_WITHIN_MS)
  try {
    await untilAborted(actions[action](route), limit)
  } catch (error) {
    if (error !== limit.reason) throw error
    const waited = `expected an answer within ${ACTION_WITHIN_MS / 1000} s, found none`
    throw new Refusal(504, `${waited}: it may still be carried out, so look at the state before trying again`)
  }
  return jsonAnswer(200, { route, action })
}
