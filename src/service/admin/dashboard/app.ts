import type { RouteJson, RoutesJson } from '../route-json.ts'
import { asking } from './ask.ts'
import { type Action, type Card, card } from './card.ts'
import type { PageDocument, PageElement } from './dom.ts'
import { formatCount, formatTime } from './format.ts'
import { readUpdates, type UpdateBody } from './updates.ts'

// The dashboard, in the browser: it listens to the server and shows each route as a card.

declare const document: PageDocument

const TOKEN_KEY = 'reflex-bridge-token'
/** The server sends something every second: a connection that is silent for longer is dead. */
const SILENT_MS = 10_000
const RETRY_MS = { least: 1000, most: 10_000 }

const wouldDo: Readonly<Record<Action, { readonly yes: string; readonly text: string }>> = {
  pause: {
    yes: 'Pause',
    text: 'It forwards nothing until it is resumed, and keeps its place. No event is lost: they wait in the source.',
  },
  resume: { yes: 'Resume', text: 'It goes on where it stood.' },
  stop: {
    yes: 'Stop',
    text: 'It gives its lease back and forwards nothing, also after a restart, until it is resumed. No event is lost: they wait in the source.',
  },
}

const find = (selector: string): PageElement => document.querySelector(selector) as PageElement
const [list, template, connection, summary, news] = ['#routes', '#card', '#connection', '#summary', '#news'].map(
  find,
) as [PageElement, PageElement, PageElement, PageElement, PageElement]
const ask = asking(find('#ask'))
const cards = new Map<string, Card>()
const seen = new Map<string, RouteJson>()

/** The server wants another token than the one that it was sent. */
class TokenError extends Error {}

async function request(path: string, options: RequestInit = {}): Promise<Response> {
  const token = sessionStorage.getItem(TOKEN_KEY)
  const response = await fetch(path, {
    ...options,
    headers: {
      'content-type': 'application/json',
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    },
  })
  if (response.status === 401) throw new TokenError('the server expects another token')
  if (response.ok) return response
  const told = (await response.json().catch(() => undefined)) as { error?: { message?: string } } | undefined
  throw new Error(told?.error?.message ?? `the server answered with ${response.status}`)
}

/** Shows what the server sends until the connection ends. */
async function listen(onState: () => void): Promise<void> {
  const silence = new AbortController()
  let timer: ReturnType<typeof setTimeout> | undefined
  const sign = (): void => {
    clearTimeout(timer)
    timer = setTimeout(() => silence.abort(new Error('it was silent for too long')), SILENT_MS)
  }
  try {
    sign()
    const { body } = await request('events', { signal: silence.signal })
    for await (const { event, data } of readUpdates(body as UpdateBody, sign)) {
      if (event !== 'routes') continue
      show(JSON.parse(data) as RoutesJson)
      onState()
    }
  } finally {
    clearTimeout(timer)
    silence.abort()
  }
}

/** Listens for ever: what ends it is told, and then it is tried again. */
async function follow(): Promise<never> {
  let delayMs = RETRY_MS.least
  for (;;) {
    try {
      await listen(() => {
        delayMs = RETRY_MS.least
        shownAt = Date.now()
        disconnected(undefined)
      })
      disconnected('the server has ended')
    } catch (error) {
      if (error instanceof TokenError) {
        await tokenGiven()
        continue
      }
      disconnected(error instanceof Error ? error.message : String(error))
    }
    await new Promise((resolve) => setTimeout(resolve, delayMs))
    delayMs = Math.min(delayMs * 2, RETRY_MS.most)
  }
}

let shownAt: number | undefined
/** Says why there is no connection, or with undefined that there is one. */
function disconnected(why: string | undefined): void {
  const lost = why !== undefined
  const old = shownAt === undefined ? '' : ` What is shown is of ${formatTime(shownAt)}.`
  setText(connection, lost ? `Disconnected: ${why}.${old} Trying again.` : 'Live')
  connection.dataset['lost'] = String(lost)
  find('main').classList.toggle('stale', lost)
  if (lost) document.title = 'Disconnected · reflex-bridge'
}

function show({ at, routes }: RoutesJson): void {
  for (const [name, gone] of cards) {
    if (routes.some((route) => route.name === name)) continue
    gone.element.remove()
    cards.delete(name)
  }
  for (const route of routes) {
    const { name } = route
    let shown = cards.get(name)
    if (shown === undefined) {
      shown = card(template, (action) => askFor(action, name))
      cards.set(name, shown)
      list.append(shown.element)
    }
    shown.show(route, at)
  }
  announce(routes)
  const troubled = routes.filter(({ ready }) => !ready).length
  const troubles = troubled === 0 ? 'all ready' : `${formatCount(troubled)} not ready`
  setText(summary, `${formatCount(routes.length)} ${routes.length === 1 ? 'route' : 'routes'}, ${troubles}`)
  const title = `${troubled === 0 ? '' : `(${troubled}) `}reflex-bridge`
  if (document.title !== title) document.title = title
}

/** Tells those who cannot see it what has changed; not what was there from the start. */
function announce(routes: readonly RouteJson[]): void {
  const changes = routes.flatMap((route) => {
    const { name, state, ready, reason } = route
    const before = seen.get(name)
    seen.set(name, route)
    if (before === undefined) return []
    return [
      ...(before.state === state ? [] : [`${name} is ${state}`]),
      ...(before.ready === ready ? [] : [ready ? `${name} is ready again` : `${name} is not ready: ${reason}`]),
    ]
  })
  if (changes.length > 0) news.textContent = `${changes.join('. ')}.`
}

function askFor(action: Action, name: string): void {
  const { yes, text } = wouldDo[action]
  ask({
    title: `${yes} ${name}?`,
    text,
    yes,
    run: async () => {
      await request(`routes/${encodeURIComponent(name)}/${action}`, { method: 'POST', body: '{}' })
      news.textContent = `${name} was asked to ${action}.`
    },
  })
}

/** Asks for the token until the server takes one; it is kept for as long as the tab is open. */
function tokenGiven(): Promise<void> {
  return new Promise((resolve) => {
    const question = {
      title: 'Token',
      text: 'This server shows its routes to those who know the token of its configuration (admin.token).',
      yes: 'Enter',
      field: 'Token',
      run: async (typed: string) => {
        sessionStorage.setItem(TOKEN_KEY, typed.trim())
        try {
          await request('routes')
        } catch (error) {
          sessionStorage.removeItem(TOKEN_KEY)
          throw error
        }
        resolve()
      },
    }
    setText(connection, 'The token is needed: reload the page to be asked again')
    ask(question)
  })
}

function setText(element: PageElement, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

void follow()
