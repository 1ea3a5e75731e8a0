import type { RouteJson } from '../route-json.ts'
import type { PageElement } from './dom.ts'
import { formatCount, formatRate, formatSeconds, formatShort, formatTime } from './format.ts'
import { rateCurve } from './rate-curve.ts'

/** What can be done with a route. */
export type Action = 'pause' | 'resume' | 'stop'

/** The card of one route. */
export interface Card {
  readonly element: PageElement
  /** Shows what the route was at `at`, epoch in ms. */
  show(route: RouteJson, at: number): void
}

/** Writers hold a source up for less than this many times a second: of that nothing is said. */
const BLOCKED_MS = 1000
const CURVE = { width: 300, height: 48 }

/** Makes a card of the template. All text is set as text: names and errors are not trusted. */
export function card(template: PageElement, onAction: (action: Action) => void): Card {
  const element = template.content.firstElementChild?.cloneNode(true) as PageElement
  const parts = new Map([...element.querySelectorAll('[data-part]')].map((part) => [part.dataset['part'], part]))
  const part = (name: string): PageElement => parts.get(name) as PageElement
  /** What stands there already is left alone, so that a selection stays. */
  const set = (name: string, text: string): void => {
    if (part(name).textContent !== text) part(name).textContent = text
  }
  /** Shows a part only while there is something to say. */
  const say = (name: string, text: string | undefined): void => {
    part(name).hidden = text === undefined
    set(`${name}-text`, text ?? '')
  }
  const curve = rateCurve()
  const buttons = (['pause', 'resume', 'stop'] as const).map((action) => {
    const button = part(action)
    button.addEventListener('click', () => {
      if (button.getAttribute('aria-disabled') !== 'true') onAction(action)
    })
    return { action, button }
  })

  return {
    element,
    show: (route, at) => {
      const { name, state, backlog, lagSeconds, blocked, lastError, ended, repairs, repair } = route
      element.dataset['state'] = state
      element.dataset['ready'] = String(route.ready)
      set('name', name)
      set('state', state)
      set('source', route.source)
      set('sink', route.sink)
      set('backlog', backlog === undefined ? '–' : inEvents(backlog))
      set('lag', lagSeconds === undefined ? '–' : formatSeconds(lagSeconds))
      set('forwarded', formatShort(route.forwarded))

      curve.add(at, route.forwarded)
      set('rate', `${formatRate(curve.now)}/s`)
      set('peak', `peak ${formatRate(curve.peak)}/s in 3 min`)
      part('line').setAttribute('d', curve.path(CURVE))
      const rates = `${formatRate(curve.now)} now, at most ${formatRate(curve.peak)}`
      part('curve').setAttribute('aria-label', `Events per second over the last 3 minutes: ${rates}`)

      say('attention', ended?.error === undefined ? route.reason : undefined)
      const isBlocked =
        blocked !== undefined && blocked.blockedMs >= BLOCKED_MS && !route.reason?.includes(blocked.holder)
      say('blocked', isBlocked ? `${formatSeconds(blocked.blockedMs / 1000)} by ${blocked.holder}` : undefined)
      const failure = ended?.error ?? lastError
      say('error', failure?.message)
      set('error-title', ended?.error === undefined ? 'Last error' : 'Ended for good')
      set(
        'error-code',
        [failure?.code, failure?.kind === 'retriable' ? undefined : failure?.kind].filter(Boolean).join(', '),
      )
      say('repair', repairs === 0 && repair === undefined ? undefined : (repair ?? ''))
      set(
        'repair-title',
        repairs === 1 ? 'Repaired once' : repairs > 1 ? `Repaired ${formatCount(repairs)} times, last` : 'Repaired',
      )

      set('position', route.position === undefined ? '–' : route.position || 'the start')
      set('saved', route.saved === undefined ? '–' : route.saved || 'the start')
      set('exact', formatCount(route.forwarded))
      set('last-event', route.lastEventAt === undefined ? '–' : formatTime(route.lastEventAt))
      set('owner', route.owner ?? '–')
      set('failures', `${formatCount(route.errors)}, ${formatCount(route.restarts)} restarts`)
      set('left-out', `${formatCount(route.skipped)}, ${formatCount(route.deadLetters)} of them dead letters`)

      for (const { action, button } of buttons) button.setAttribute('aria-disabled', String(!isOf(action, state)))
    },
  }
}

/** Of positions some may hold no event. */
function inEvents({ count, unit }: NonNullable<RouteJson['backlog']>): string {
  return `${unit === 'positions' && count !== '0' ? '≤ ' : ''}${formatShort(count)}`
}

/** Whether an action makes sense in a state. */
function isOf(action: Action, state: RouteJson['state']): boolean {
  if (state === 'ended') return false
  if (action === 'resume') return state === 'paused' || state === 'stopped'
  if (action === 'pause') return state !== 'paused' && state !== 'stopped'
  return state !== 'stopped'
}
