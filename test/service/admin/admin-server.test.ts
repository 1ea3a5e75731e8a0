import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import type { AdminRoute } from '../../../src/service/admin/admin-route.ts'
import { type AdminOptions, type AdminServer, startAdmin } from '../../../src/service/admin/admin-server.ts'
import type { RoutesJson } from '../../../src/service/admin/route-json.ts'
import { routeMeters } from '../../../src/service/admin/route-meters.ts'
import type { RouteActions } from '../../../src/service/control/route-actions.ts'
import { resourceScope } from '../../tools/resource-scope.ts'
import { ask } from './ask.ts'
import { fakeRoute } from './fake-route.ts'
import { parsePrometheus } from './parse-prometheus.ts'

const TOKEN = 'sixteen-or-more-1'
const bearer = { authorization: `Bearer ${TOKEN}` }
const json = { 'content-type': 'application/json' }

/** Notes down what it is asked to do. */
function noting(): { actions: RouteActions; done: string[] } {
  const done: string[] = []
  const noted = (action: string) => async (route: string) => {
    done.push(`${action} ${route}`)
  }
  return { done, actions: { pause: noted('pause'), resume: noted('resume'), stop: noted('stop') } }
}

function start(routes: readonly AdminRoute[], options: Partial<AdminOptions> = {}): Promise<AdminServer> {
  return startAdmin({
    startRoutes: () => routes,
    actions: noting().actions,
    meters: routeMeters(),
    listen: { host: '127.0.0.1', port: 0 },
    ...options,
  })
}

const guarded = { listen: { host: '127.0.0.1', port: 0, token: TOKEN } }

describe('the admin server', () => {
  it('shows the routes as JSON, without secrets', async () => {
    const meters = routeMeters()
    meters.observer('orders').repaired?.('x')
    const orders = fakeRoute('orders', {
      backlog: { count: 9_007_199_254_740_993n, unit: 'events' },
      oldestUnreadAt: Date.now() - 60_000,
      blocked: { holder: 'mysql://app:hunter2@h', blockedMs: 1.5, user: 'app' },
      lastError: new Error('cannot open redis://app:hunter2@h/0'),
      repair: 'refilled redis://app:hunter2@h/0',
    })
    const route: AdminRoute = { ...orders, source: 'mysql://app:hunter2@h/shop', sink: 'redis://:hunter2@h' }
    const dead = fakeRoute('dead')
    dead.end({ reason: 'failed', error: new Error('kafka://a:hunter2@h: gone') })
    await using admin = await start([route, dead], { meters })
    const { status, headers, body } = await ask(`${admin.url}routes`)
    expect([status, headers['content-type']]).toEqual([200, 'application/json; charset=utf-8'])
    expect(body).not.toContain('hunter2')
    const { at, routes } = JSON.parse(body) as RoutesJson
    expect(Math.abs(Date.now() - at)).toBeLessThan(5000)
    expect(routes[0]).toEqual({
      name: 'orders',
      source: 'mysql://app:***@h/shop',
      sink: 'redis://:***@h',
      state: 'running',
      ready: true,
      position: '7',
      saved: '7',
      backlog: { count: '9007199254740993', unit: 'events' },
      lagSeconds: expect.closeTo(60, -1),
      oldestUnreadAt: expect.any(Number),
      blocked: { holder: 'mysql://app:***@h', blockedMs: 2 },
      forwarded: 1000,
      skipped: 0,
      restarts: 0,
      repairs: 1,
      repair: 'refilled redis://app:***@h/0',
      deadLetters: 0,
      errors: 0,
      lastError: { kind: 'retriable', message: 'cannot open redis://app:***@h/0' },
    })
    expect(routes[1]).toMatchObject({
      state: 'ended',
      ready: false,
      reason: 'it ended for good: kafka://a:***@h: gone',
      ended: { reason: 'failed', error: { kind: 'retriable', message: 'kafka://a:***@h: gone' } },
    })
    await using impatient = await start([route, dead], { readyAfterMs: 300 })
    const asked = async (path: string) => (await ask(impatient.url + path)).body
    await expect.poll(() => asked('readyz'), { timeout: 5000 }).toContain('blocked by mysql://app:***@h')
    for (const path of ['readyz', 'metrics', 'routes']) expect(await asked(path)).not.toContain('hunter2')
  })

  it('lives, and is ready as long as every route makes progress, rests, or has nothing to do', async () => {
    const waits = { backlog: { count: 5n, unit: 'events' as const } }
    const orders = fakeRoute('orders')
    const others = (['standby', 'paused', 'stopped'] as const).map((state) => fakeRoute(state, { state, ...waits }))
    await using admin = await start([orders, ...others, fakeRoute('idle')], { readyAfterMs: 1000 })
    const ready = async () => {
      const { status, body } = await ask(`${admin.url}readyz`)
      return { status, ...(JSON.parse(body) as object) }
    }
    expect(await ready()).toMatchObject({ status: 200, ready: true })
    orders.become(waits)
    await expect.poll(ready, { timeout: 5000 }).toMatchObject({
      status: 503,
      ready: false,
      reason: '1 of 5 routes not ready',
      routes: [
        { name: 'orders', ready: false, reason: 'no progress for 1 s: 5 events wait' },
        ...Array(4).fill({ ready: true }),
      ],
    })
    expect((await ask(`${admin.url}livez`)).status).toBe(200)
    orders.become({ saved: '8' })
    await expect.poll(ready, { timeout: 5000 }).toMatchObject({ status: 200, ready: true })
    orders.end({ reason: 'failed', error: new Error('x') })
    expect(await ready()).toMatchObject({ status: 503, routes: [{ reason: 'it ended for good: x' }, {}, {}, {}, {}] })
  })

  it('judges by what it saw itself, also when it is asked for the first time only after long', async () => {
    const orders = fakeRoute('orders', { backlog: { count: 5n, unit: 'events' } })
    await using admin = await start([orders], { readyAfterMs: 400 })
    await expect.poll(() => orders.asked, { timeout: 5000 }).toBeGreaterThan(4)
    expect((await ask(`${admin.url}readyz`)).status).toBe(503)
  })

  it('answers although a route does not, and says so', async () => {
    let never = false
    const hung = fakeRoute('hung')
    const route: AdminRoute = { ...hung, status: () => (never ? new Promise(() => {}) : hung.status()) }
    await using admin = await start([route, fakeRoute('fine')], { readyAfterMs: 1000 })
    expect((await ask(`${admin.url}readyz`)).status).toBe(200)
    never = true
    await expect
      .poll(async () => (await ask(`${admin.url}readyz`)).body, { timeout: 20_000, interval: 100 })
      .toContain('it has not told its state')
  })

  it('goes on when a route fails to tell its state', async () => {
    const route: AdminRoute = { ...fakeRoute('bad'), status: () => Promise.reject(new Error('no')) }
    await using admin = await start([route, fakeRoute('fine')])
    const { routes } = JSON.parse((await ask(`${admin.url}routes`)).body) as RoutesJson
    expect(routes).toMatchObject([
      { state: 'unknown', ready: false },
      { state: 'running', ready: true },
    ])
  })

  it('serves metrics that a scraper can read', async () => {
    await using admin = await start([fakeRoute('orders'), fakeRoute('users')])
    const { headers, body } = await ask(`${admin.url}metrics`)
    expect(headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
    const active = parsePrometheus(body).find(({ name }) => name === 'reflex_consumer_active')
    expect(active?.samples.map(({ labels, value }) => [labels['consumer_name'], value])).toEqual([
      ['orders', 1],
      ['users', 1],
    ])
  })

  it('pauses, resumes and stops routes, and tells of it', async () => {
    const { actions, done } = noting()
    const notes: string[] = []
    const onNote = (text: string) => void notes.push(text)
    await using admin = await start([fakeRoute('orders')], { actions, onNote })
    for (const action of ['pause', 'resume', 'stop']) {
      const answered = await ask(`${admin.url}routes/orders/${action}`, { method: 'POST', headers: json, body: '{}' })
      expect([answered.status, JSON.parse(answered.body)]).toEqual([200, { route: 'orders', action }])
    }
    expect(done).toEqual(['pause orders', 'resume orders', 'stop orders'])
    expect(notes[0]).toBe('admin server: pause orders, asked for from 127.0.0.1')
    const answered = await ask(`${admin.url}routes/other/pause`, { method: 'POST', headers: json })
    expect([answered.status, answered.body]).toEqual([
      404,
      expect.stringContaining('expected one of the routes orders'),
    ])
    expect(done).toHaveLength(3)
  })

  it('says why an action failed, without secrets', async () => {
    const failing = () => Promise.reject(new Error('mysql://app:hunter2@h cannot be reached'))
    const actions = { pause: failing, resume: failing, stop: failing }
    await using admin = await start([fakeRoute('orders')], { actions })
    const { status, body } = await ask(`${admin.url}routes/orders/stop`, { method: 'POST', headers: json })
    expect([status, JSON.parse(body)]).toEqual([500, { error: { message: 'mysql://app:***@h cannot be reached' } }])
  })

  it('says which paths and methods there are', async () => {
    await using admin = await start([fakeRoute('orders')])
    expect((await ask(`${admin.url}elsewhere`)).status).toBe(404)
    expect((await ask(`${admin.url}toString`)).status).toBe(404)
    expect((await ask(`${admin.url}routes/orders/delete`, { method: 'POST', headers: json })).status).toBe(404)
    const posted = await ask(`${admin.url}metrics`, { method: 'POST', headers: json })
    expect([posted.status, posted.headers.allow]).toEqual([405, 'GET'])
    expect((await ask(`${admin.url}routes/orders/pause`)).status).toBe(405)
    const head = await ask(`${admin.url}livez`, { method: 'HEAD' })
    expect([head.status, head.body]).toEqual([200, ''])
  })

  it('forbids all but its own scripts and styles, frames and caches, on every answer', async () => {
    await using admin = await start([fakeRoute('orders')])
    for (const path of ['', 'dashboard/style.css', 'livez', 'routes', 'elsewhere']) {
      const { headers } = await ask(admin.url + path)
      expect(headers, path).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
      const policy = String(headers['content-security-policy'])
      expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'")
      expect(policy).toContain("frame-ancestors 'none'")
      expect(policy).not.toContain('unsafe')
    }
    expect((await ask(admin.url)).body).not.toMatch(/<script(?![^>]*src=)|<style|\son\w+=|\sstyle=/)
  })
})

describe('who may ask', () => {
  it('is whoever has the token: for the routes, the metrics and the actions, not for the page and the probes', async () => {
    const { actions, done } = noting()
    await using admin = await start([fakeRoute('orders')], { ...guarded, actions })
    const pause = { method: 'POST', headers: json }
    for (const authorization of [
      undefined,
      'Bearer x',
      `Bearer ${TOKEN}1`,
      `Basic ${TOKEN}`,
      `Bearer ${TOKEN} x`,
      TOKEN,
    ]) {
      const headers = { ...json, ...(authorization === undefined ? {} : { authorization }) }
      for (const [path, options] of [
        ['routes', { headers }],
        ['events', { headers }],
        ['metrics', { headers }],
        ['routes/orders/pause', { ...pause, headers }],
      ] as const) {
        const answered = await ask(admin.url + path, options)
        expect([path, answered.status, answered.headers['www-authenticate']]).toEqual([
          path,
          401,
          expect.stringMatching(/^Bearer/),
        ])
        expect(answered.body).not.toContain('orders')
      }
    }
    expect(done).toEqual([])
    expect((await ask(`${admin.url}routes`, { headers: bearer })).status).toBe(200)
    expect((await ask(`${admin.url}routes/orders/pause`, { ...pause, headers: { ...json, ...bearer } })).status).toBe(
      200,
    )
    for (const path of ['', 'dashboard/style.css', 'livez']) expect((await ask(admin.url + path)).status).toBe(200)
  })

  it('learns from a probe without the token only whether all are ready', async () => {
    const dead = fakeRoute('orders')
    dead.end({ reason: 'failed', error: new Error('x') })
    await using admin = await start([dead], guarded)
    const { status, body } = await ask(`${admin.url}readyz`)
    expect([status, JSON.parse(body)]).toEqual([503, { ready: false, reason: '1 of 1 routes not ready' }])
    expect((await ask(`${admin.url}readyz`, { headers: bearer })).body).toContain('orders')
  })

  it('is no page of another site', async () => {
    const { actions, done } = noting()
    await using admin = await start([fakeRoute('orders')], { actions })
    const { host, origin } = new URL(admin.url)
    const pause = (headers: Record<string, string>) =>
      ask(`${admin.url}routes/orders/pause`, { method: 'POST', headers: { ...json, ...headers }, body: '{}' })
    for (const headers of [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: `http://127.0.0.1:${Number(new URL(admin.url).port) + 1}` },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
      { 'sec-fetch-site': 'none' },
      { origin, 'sec-fetch-site': 'cross-site' },
    ])
      expect([headers, (await pause(headers)).status]).toEqual([headers, 403])
    // What a form or a simple request can send, for which no browser asks first.
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', ''])
      expect([type, (await pause({ 'content-type': type })).status]).toEqual([type, 415])
    expect(done).toEqual([])
    expect((await pause({ origin, host, 'sec-fetch-site': 'same-origin' })).status).toBe(200)
    expect((await pause({})).status).toBe(200) // curl
    expect((await ask(`${admin.url}routes`, { headers: { 'sec-fetch-site': 'cross-site' } })).status).toBe(403)
    expect((await ask(`${admin.url}routes`, { headers: { 'sec-fetch-site': 'none' } })).status).toBe(200) // typed in
  })

  it('knows a server on loopback by a name of this machine', async () => {
    await using admin = await start([fakeRoute('orders')])
    for (const host of [
      'evil.example',
      'evil.example:80',
      '127.0.0.1.evil.example',
      'localhost.evil.example',
      '10.0.0.1',
      'notlocalhost',
      'x127.0.0.1',
    ]) {
      for (const path of ['', 'livez', 'routes', 'events'])
        expect([host, path, (await ask(admin.url + path, { headers: { host } })).status]).toEqual([host, path, 421])
    }
    // With a token a proxy may stand before it, and a page of another site has not the token.
    await using proxied = await start([fakeRoute('orders')], guarded)
    const headers = { ...json, ...bearer, host: 'bridge.example', origin: 'https://bridge.example' }
    const pause = { method: 'POST', headers }
    expect((await ask(`${proxied.url}routes/orders/pause`, pause)).status).toBe(200)
    expect((await ask(`${proxied.url}routes`, { headers: { host: 'evil.example' } })).status).toBe(401)
    for (const host of ['localhost', 'localhost:8080', '127.0.0.1', '127.8.8.8:1', '[::1]:9464'])
      expect([host, (await ask(`${admin.url}routes`, { headers: { host } })).status]).toEqual([host, 200])
  })

  it('is nobody on a port that others can reach, unless there is a token that cannot be guessed', async () => {
    const message = async (listen: AdminOptions['listen']) => {
      const failed = await start([], { listen }).then(
        async (admin) => admin[Symbol.asyncDispose](),
        (error: Error & { code?: string }) => `${error.code}: ${error.message}`,
      )
      return failed ?? 'it started'
    }
    expect(await message({ host: '0.0.0.0', port: 0 })).toBe(
      'OPTION_INVALID: admin.token: expected a token of at least 16 characters, found nothing: other machines can reach 0.0.0.0, and with it pause and stop routes',
    )
    expect(await message({ host: '127.0.0.1.evil.example', port: 0 })).toContain('found nothing')
    expect(await message({ host: '127.0.0.1', port: 0, token: 'short' })).toContain(
      'expected at least 16 characters, found 5',
    )
    expect(await message({ host: '::', port: 0, token: 'with spaces in it, 20' })).toContain('without spaces')
    expect(await message({ host: '0.0.0.0', port: 0, token: TOKEN })).toBe('it started')
    expect(await message({ host: 'localhost', port: 0 })).toBe('it started')
  })
})

describe('clients that ask for too much', () => {
  it('may send 16 KiB at most, and nothing that has no meaning', async () => {
    const { actions, done } = noting()
    await using admin = await start([fakeRoute('orders')], { actions })
    const pause = (body: string, headers: Record<string, string> = {}) =>
      ask(`${admin.url}routes/orders/pause`, { method: 'POST', headers: { ...json, ...headers }, body })
    const much = `{${' '.repeat(16_384)}}`
    expect((await pause(much)).status).toBe(413)
    expect((await pause(much, { 'transfer-encoding': 'chunked' })).status).toBe(413)
    for (const body of ['[]', '{"force":true}', 'x']) expect([body, (await pause(body)).status]).toEqual([body, 400])
    expect(done).toEqual([])
    expect((await pause(' {} ')).status).toBe(200)
  })

  it('are told so before they have sent it all', async () => {
    await using admin = await start([fakeRoute('orders')])
    const socket = connect(Number(new URL(admin.url).port), '127.0.0.1')
    const head = 'POST /routes/orders/pause HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
    socket.write(`${head}Transfer-Encoding: chunked\r\n\r\n5000\r\n${' '.repeat(0x5000)}\r\n`) // and more would come
    const [answered] = (await once(socket.setEncoding('utf8'), 'data')) as [string]
    expect(answered).toMatch(/^HTTP\/1\.1 413 [\s\S]*\r\nConnection: close\r\n/)
    socket.destroy()
  })

  it('are cut off when they do not finish what they send', async () => {
    await using admin = await start([fakeRoute('orders')])
    const socket = connect(Number(new URL(admin.url).port), '127.0.0.1')
    socket.write('POST /routes/orders/pause HTTP/1.1\r\nHost: localhost\r\nContent-Ty') // and no more
    let answered = ''
    socket.setEncoding('utf8').on('data', (text: string) => {
      answered += text
    })
    const started = performance.now()
    await once(socket, 'close')
    expect(answered).toMatch(/^HTTP\/1\.1 408 /)
    expect(performance.now() - started).toBeLessThan(20_000)
  })
})

describe('who listens', () => {
  it('gets the state at once and then again and again, the same for all, for as long as somebody does', async () => {
    const orders = fakeRoute('orders')
    await using admin = await start([orders], { updateEveryMs: 10 })
    const [one, two] = await Promise.all([listen(admin), listen(admin)])
    orders.become({ handled: 2000 })
    for (const listener of [one, two]) {
      await expect.poll(() => listener.states().at(-1)?.routes[0]?.forwarded, { timeout: 5000 }).toBe(2000)
      expect(listener.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    }
    one.leave()
    two.leave()
    await expect
      .poll(
        async () => {
          const before = orders.asked
          await new Promise((resolve) => setTimeout(resolve, 300)) // nobody asks: there is nothing to await
          return orders.asked - before
        },
        { timeout: 10_000 },
      )
      .toBe(0)
  })

  it('sees that the connection lives while a route takes its time', async () => {
    let answer: (() => void) | undefined
    const orders = fakeRoute('orders')
    const slow: AdminRoute = {
      ...orders,
      status: async () => {
        await new Promise<void>((resolve) => {
          answer = resolve
        })
        return orders.status()
      },
    }
    await using admin = await start([slow], { updateEveryMs: 10 })
    const listener = await listen(admin)
    await expect.poll(() => listener.text(), { timeout: 5000 }).toContain(': still here\n\n')
    expect(listener.states()).toEqual([])
    answer?.()
    await expect.poll(() => listener.states().length, { timeout: 5000 }).toBeGreaterThan(0)
    listener.leave()
  })

  it('is one of 16 at most', async () => {
    await using admin = await start([fakeRoute('orders')])
    const listeners = await Promise.all(Array.from({ length: 16 }, () => listen(admin)))
    const refused = await ask(`${admin.url}events`)
    expect([refused.status, refused.body]).toEqual([503, expect.stringContaining('at most 16 listeners')])
    listeners[0]?.leave()
    await expect
      .poll(
        () =>
          listen(admin).then(
            ({ leave }) => leave(),
            () => 'refused',
          ),
        { timeout: 5000 },
      )
      .not.toBe('refused')
    for (const { leave } of listeners) leave()
  })

  it('is told of the end, and nothing is left after it', async () => {
    using scope = resourceScope()
    const orders = fakeRoute('orders')
    const admin = await scope.run(() => start([orders], { updateEveryMs: 10 }))
    const listeners = [await listen(admin), await listen(admin)]
    await expect.poll(() => listeners.every(({ states }) => states().length > 2), { timeout: 5000 }).toBe(true)
    const idle = connect(Number(new URL(admin.url).port), '127.0.0.1')
    idle.on('error', () => {})
    const gone = once(idle, 'close')
    await once(idle, 'connect')
    const started = performance.now()
    await admin[Symbol.asyncDispose]()
    expect(performance.now() - started).toBeLessThan(5000)
    for (const listener of listeners) {
      await listener.ended
      expect(listener.text()).toMatch(/event: end\ndata: \{\}\n\n$/)
    }
    await gone
    await expect.poll(() => scope.open(), { timeout: 5000 }).toEqual([])
    await expect(ask(`${admin.url}livez`)).rejects.toThrow('ECONNREFUSED')
    await admin[Symbol.asyncDispose]() // again: nothing happens
  })
})

describe('a port that cannot be had', () => {
  it('is told with what to do', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const failed = start([fakeRoute('orders')], { listen: { host: '127.0.0.1', port } })
    await expect(failed).rejects.toMatchObject({
      code: 'ADMIN_CANNOT_LISTEN',
      message: `the admin server cannot listen on 127.0.0.1:${port}: another process listens there already: end it, or set another admin.port (EADDRINUSE)`,
      retriable: false,
    })
    const elsewhere = start([], { listen: { host: '192.0.2.1', port: 0, token: TOKEN } })
    await expect(elsewhere).rejects.toThrow('it is no address of this machine: set another admin.host (EADDRNOTAVAIL)')
    other.close()
  })
})

interface Listener {
  readonly headers: Headers
  text(): string
  states(): RoutesJson[]
  readonly ended: Promise<void>
  leave(): void
}

/** Listens to `/events`; rejects if it is refused. */
async function listen(admin: AdminServer): Promise<Listener> {
  const leaving = new AbortController()
  const response = await fetch(`${admin.url}events`, { signal: leaving.signal })
  if (!response.ok) throw new Error(await response.text())
  let text = ''
  const states: RoutesJson[] = []
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder()
    let rest = ''
    for await (const part of response.body as unknown as AsyncIterable<Uint8Array>) {
      const more = decoder.decode(part, { stream: true })
      text += more
      const blocks = `${rest}${more}`.split('\n\n')
      rest = blocks.pop() ?? ''
      for (const block of blocks) {
        if (block.startsWith('event: routes\ndata: ')) states.push(JSON.parse(block.slice(20)) as RoutesJson)
      }
    }
  }
  return {
    headers: response.headers,
    text: () => text,
    states: () => states,
    ended: read().catch(() => {}),
    leave: () => leaving.abort(),
  }
}
