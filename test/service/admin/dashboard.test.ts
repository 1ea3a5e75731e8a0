import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AdminRoute } from '../../../src/service/admin/admin-route.ts'
import { type AdminOptions, startAdmin } from '../../../src/service/admin/admin-server.ts'
import { routeMeters } from '../../../src/service/admin/route-meters.ts'
import type { RouteActions } from '../../../src/service/control/route-actions.ts'
import { type Browser, startBrowser } from '../../tools/browser.ts'
import { fakeRoute } from './fake-route.ts'

let browser: Browser
beforeAll(async () => {
  browser = await startBrowser()
}, 300_000) // it may have to be fetched
afterAll(() => browser?.[Symbol.asyncDispose]())

function start(routes: readonly AdminRoute[], options: Partial<AdminOptions> = {}) {
  const idle = async () => {}
  return startAdmin({
    startRoutes: () => routes,
    actions: { pause: idle, resume: idle, stop: idle },
    meters: routeMeters(),
    listen: { host: '127.0.0.1', port: 0 },
    updateEveryMs: 50,
    ...options,
  })
}

/** The part of a route's card, as an expression. */
const part = (name: string, route = 0) =>
  `document.querySelectorAll('.card')[${route}].querySelector('[data-part="${name}"]')`
const text = (name: string, route = 0) => `${part(name, route)}.textContent`
const focused = `(document.activeElement.dataset.part ?? document.activeElement.tagName)`

describe('the dashboard in a browser', () => {
  it('shows each route as it is, and what changes, without a word from elsewhere', async () => {
    const orders = fakeRoute('orders', {
      backlog: { count: 12_045n, unit: 'events' },
      oldestUnreadAt: Date.now() - 3_600_000,
    })
    const failing = fakeRoute('users', {
      state: 'waiting',
      lastError: new Error(`redis://app:hunter2@h: ${'a long story '.repeat(50)}\nto its end`),
      repair: 'refilled after 7',
      backlog: { count: 42n, unit: 'positions' },
      blocked: { holder: 'connection 4711', blockedMs: 61_000 },
    })
    await using admin = await start([orders, failing])
    const page = await browser.open(admin.url)
    await page.until(`document.querySelectorAll('.card').length === 2`)
    expect(await page.evaluate(text('name'))).toBe('orders')
    expect(await page.evaluate(text('source'))).toBe('mysql://app@127.0.0.1:3306/shop.orders')
    expect(await page.evaluate(text('sink'))).toBe('redis://127.0.0.1:6379/orders')
    expect(await page.evaluate(`${text('state')} + ${text('backlog')} + ${text('lag')}`)).toBe('running12,04560 min')
    expect(
      await page.evaluate(`${part('error')}.hidden && ${part('blocked')}.hidden && ${part('repair')}.hidden`),
    ).toBe(true)
    const told = await page.evaluate<string>(text('error-text', 1))
    expect(told).toMatch(/^redis:\/\/app:\*\*\*@h: a long story [\s\S]*\nto its end$/)
    // The whole of it can be read: it is not cut off.
    expect(
      await page.evaluate(
        `(({ scrollHeight, clientHeight, scrollWidth, clientWidth }) => scrollHeight <= clientHeight && scrollWidth <= clientWidth)(${part('error-text', 1)})`,
      ),
    ).toBe(true)
    expect(await page.evaluate(text('backlog', 1))).toBe('≤ 42')
    expect(await page.evaluate(text('repair-text', 1))).toBe('refilled after 7')
    expect(await page.evaluate(text('blocked-text', 1))).toBe('61 s by connection 4711')

    expect(await page.evaluate(`document.querySelector('#news').textContent`)).toBe('') // nothing has changed
    orders.become({ state: 'paused', handled: 2000 })
    await page.until(`${text('state')} === 'paused' && ${text('forwarded')} === '2,000'`)
    expect(await page.evaluate(`document.querySelector('#news').textContent`)).toBe('orders is paused.')
    await page.until(`/^M.*L/.test(${part('line')}.getAttribute('d'))`)
    expect(await page.evaluate(`${part('curve')}.getAttribute('aria-label')`)).toMatch(
      /^Events per second over the last 3 minutes: /,
    )
    const elsewhere = `performance.getEntriesByType('resource').filter(({ name }) => !name.startsWith(location.origin)).length`
    expect(await page.evaluate(elsewhere)).toBe(0)
    expect(page.complaints).toEqual([])
  })

  it('takes names and errors for text', async () => {
    const markup = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
    const route = {
      ...fakeRoute('orders', { lastError: new Error(markup), repair: markup }),
      source: markup,
      sink: markup,
    }
    await using admin = await start([route])
    const page = await browser.open(admin.url)
    await page.until(`document.querySelectorAll('.card').length === 1`)
    for (const name of ['source', 'sink', 'error-text', 'repair-text'])
      expect(await page.evaluate(text(name))).toBe(markup)
    expect(await page.evaluate(`document.querySelectorAll('.card img, .card script').length`)).toBe(0)
    expect(page.complaints).toEqual([])
  })

  it('asks before it acts, all by keyboard, and the focus is never lost', async () => {
    const done: string[] = []
    const orders = fakeRoute('orders')
    let fails = true
    const noted = (action: string) => async (route: string) => {
      if (fails) throw new Error('mysql://app:hunter2@h cannot be reached')
      done.push(`${action} ${route}`)
      orders.become({ state: action === 'resume' ? 'running' : action === 'pause' ? 'paused' : 'stopped' })
    }
    const actions: RouteActions = { pause: noted('pause'), resume: noted('resume'), stop: noted('stop') }
    await using admin = await start([orders], { actions })
    const page = await browser.open(admin.url)
    await page.until(`document.querySelectorAll('.card').length === 1`)
    const order: string[] = []
    for (let i = 0; i < 4; i++) {
      await page.press('Tab')
      order.push(await page.evaluate(focused))
    }
    expect(order).toEqual(['SUMMARY', 'pause', 'resume', 'stop'])
    // What has the focus is seen to have it.
    expect(
      await page.evaluate(
        `getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth`,
      ),
    ).toBe('solid3px')

    await page.press('Enter')
    await page.until(`document.querySelector('dialog').open`)
    expect(await page.evaluate(`document.querySelector('dialog h2').textContent`)).toBe('Stop orders?')
    expect(await page.evaluate(focused)).toBe('no') // Enter alone does nothing
    await page.press('Enter')
    await page.until(`!document.querySelector('dialog').open`)
    expect([done, await page.evaluate(focused)]).toEqual([[], 'stop'])
    await page.press(' ')
    await page.until(`document.querySelector('dialog').open`)
    await page.press('Escape')
    await page.until(`!document.querySelector('dialog').open`)
    expect([done, await page.evaluate(focused)]).toEqual([[], 'stop'])

    await page.press('Enter')
    await page.press('Tab')
    await page.press('Enter')
    const failure = `document.querySelector('dialog [data-part=error]')`
    await page.until(`!${failure}.hidden`)
    expect(await page.evaluate(`${failure}.textContent`)).toBe('mysql://app:***@h cannot be reached')
    fails = false
    await page.press('Enter')
    await page.until(`!document.querySelector('dialog').open && ${text('state')} === 'stopped'`)
    expect([done, await page.evaluate(focused)]).toEqual([['stop orders'], 'stop'])
    // What makes no sense now can be reached, and says so, but does nothing.
    expect(await page.evaluate(`${part('stop')}.getAttribute('aria-disabled')`)).toBe('true')
    await page.press('Enter')
    expect(await page.evaluate(`document.querySelector('dialog').open`)).toBe(false)
  })

  it('says when it is disconnected, and goes on by itself', async () => {
    const orders = fakeRoute('orders')
    const first = await start([orders])
    const listen = { host: '127.0.0.1', port: Number(new URL(first.url).port) }
    const page = await browser.open(first.url)
    const connection = `document.querySelector('#connection')`
    await page.until(`${connection}.textContent === 'Live'`)
    const told = page.until(`${connection}.textContent.startsWith('Disconnected: the server has ended.')`)
    await first[Symbol.asyncDispose]()
    await told
    expect(await page.evaluate(`${connection}.textContent`)).toMatch(
      / What is shown is of \d\d:\d\d:\d\d\. Trying again\.$/,
    )
    expect(await page.evaluate(`${connection}.getAttribute('role')`)).toBe('status')
    orders.become({ handled: 4711 })
    await using _second = await start([orders], { listen })
    await page.until(`${connection}.textContent === 'Live' && ${text('forwarded')} === '4,711'`)
    expect(await page.evaluate(`document.querySelectorAll('.card').length`)).toBe(1)
  })

  it('asks for the token where one is needed, until it is right', async () => {
    const token = 'sixteen-or-more-1'
    await using admin = await start([fakeRoute('orders')], { listen: { host: '127.0.0.1', port: 0, token } })
    const page = await browser.open(admin.url)
    const enter = async (typed: string) => {
      for (const key of typed) await page.press(key)
      await page.press('Enter')
    }
    await page.until(`document.querySelector('dialog').open`)
    expect(await page.evaluate(`${focused} + document.activeElement.type`)).toBe('fieldpassword')
    await enter('wrong')
    await page.until(`!document.querySelector('dialog [data-part=error]').hidden`)
    expect(await page.evaluate(`document.querySelectorAll('.card').length`)).toBe(0)
    await page.evaluate(`document.querySelector('dialog input').value = ''`)
    await enter(token)
    await page.until(`document.querySelectorAll('.card').length === 1 && !document.querySelector('dialog').open`)
    expect(
      await page.evaluate(`document.body.textContent.includes('${token}') || location.href.includes('${token}')`),
    ).toBe(false)
  })

  it.each([1280, 360])('fits %i pixels, in light and dark, and can be read', async (width) => {
    const long = 'x'.repeat(200)
    const orders = fakeRoute('a-name-of-many-letters-that-does-not-fit-into-one-line-of-a-phone', {
      lastError: new Error(long),
      blocked: { holder: long, blockedMs: 5000 },
      handled: 123_456_789,
      backlog: { count: 123_456_789n, unit: 'positions' },
    })
    await using admin = await start([{ ...orders, source: `mysql://h/${long}` }, fakeRoute('users')])
    const page = await browser.open(admin.url)
    await page.until(`document.querySelectorAll('.card').length === 2`)
    for (const dark of [false, true]) {
      await page.look({ width, height: 740, dark })
      expect(await page.evaluate(`document.documentElement.scrollWidth`)).toBe(width)
      const outside = `[...document.querySelectorAll('.card *:not(path)')].filter((each) => each.getClientRects().length > 0).filter((each) => { const { left, right } = each.getBoundingClientRect(); const card = each.closest('.card').getBoundingClientRect(); return right > card.right + 1 || left < card.left - 1 }).map((each) => each.dataset.part ?? each.tagName)`
      expect(await page.evaluate(outside)).toEqual([])
      expect(await page.evaluate<number>(LEAST_CONTRAST)).toBeGreaterThanOrEqual(4.5) // WCAG 2.2, AA
    }
  })
})

/** The least contrast of any text to what is behind it; buttons that are off do not count. */
const LEAST_CONTRAST = `(() => {
  const numbers = (color) => color.match(/[\\d.]+/g).map(Number)
  const behind = (each) => {
    for (let e = each; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0) return c }
    return numbers(getComputedStyle(document.body).backgroundColor)
  }
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    return 0.2126 * x + 0.7152 * y + 0.0722 * z
  }
  const texts = [...document.querySelectorAll('body *')].filter((each) =>
    [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== '') &&
    each.getClientRects().length > 0 && !each.closest('[aria-disabled=true]') && !each.closest('template, script'))
  return Math.min(...texts.map((each) => {
    const [a, b] = [light(numbers(getComputedStyle(each).color)), light(behind(each))].sort((x, y) => y - x)
    return (a + 0.05) / (b + 0.05)
  }))
})()`
