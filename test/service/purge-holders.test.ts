import { expect, it } from 'vitest'
import { parseConfig, type RouteConfig } from '../../src/service/config/parse-config.ts'
import { purgeHoldersOf } from '../../src/service/purge-holders-of.ts'

/** Routes, each given by the URL of its source, with their checkpoints in one table. Nothing is connected to. */
function routesOf(sources: Readonly<Record<string, string>>): readonly RouteConfig[] {
  const text = Object.entries(sources).map(
    ([name, url]) => `
  ${name}:
    source: { url: ${JSON.stringify(url)} }
    sink: { url: redis://127.0.0.1:1, key: ${name} }
    checkpoints: { url: mysql://bridge@db/bridge }`,
  )
  return parseConfig(`routes:${text.join('')}\n`, { title: 'test', folder: '/srv', environment: {} }).routes
}

it('a table that is read as another user, or by another name of its server, is held back as well', async () => {
  const routes = routesOf({
    a: 'mysql://a@db/shop',
    b: 'mysql://b@db/shop',
    c: 'mysql://a@10.0.0.7/shop',
    payments: 'mysql://a@db/shop?table=payments',
    crm: 'mysql://a@db/crm',
  })
  await using holders = await purgeHoldersOf(routes[0] as RouteConfig, routes, { except: ['gone'] })
  expect(holders.consumers).toEqual(['a', 'b', 'c'])
  expect(holders.except).toEqual(['payments', 'crm', 'gone'])
  await using told = await purgeHoldersOf(routes[0] as RouteConfig, routes, { except: ['c'] })
  expect(told.consumers).toEqual(['a', 'b'])
})
