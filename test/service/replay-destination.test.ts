import { expect, it } from 'vitest'
import { parseConfig, type RouteConfig } from '../../src/service/config/parse-config.ts'
import { replayRoute } from '../../src/service/replay-route.ts'

const { signal } = new AbortController()

it.each([
  ['orders.{type}', 'orders.replay'],
  ['shop.orders', 'shop'],
  ['shop.orders', 'shop.orders.{typeName}'],
])(
  'where events go to %s, none are replayed into %s: the route would find them under its prefix',
  async (subject, into) => {
    const text = `routes:
  orders:
    source: { url: sqlite:shop.db }
    sink: { url: nats://127.0.0.1:1, stream: ORDERS, subject: "${subject}" }`
    const { routes } = parseConfig(text, { title: 'test', folder: '/nowhere', environment: {} })
    await expect(replayRoute(routes[0] as RouteConfig, { into, routes, signal })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(/prefix/),
    })
  },
)
