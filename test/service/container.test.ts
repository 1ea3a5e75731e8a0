import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { parseConfig } from '../../src/service/config/parse-config.ts'

const text = (path: string): string => readFileSync(path, 'utf8')

interface Compose {
  readonly services: Readonly<
    Record<string, { ports?: string[]; volumes: string[]; environment?: Record<string, string>; read_only?: boolean }>
  >
  readonly volumes: Readonly<Record<string, unknown>>
}

const { services, volumes } = parse(text('examples/service/compose.yaml'), { merge: true }) as Compose

test('the configuration of the example is right, and names the services beside it', () => {
  const environment = { ADMIN_TOKEN: 'a'.repeat(16), DB_PASSWORD: 'secret' }
  const options = { title: 'bridge.yaml', folder: 'examples/service', environment }
  const { routes, standby, admin } = parseConfig(text('examples/service/bridge.yaml'), options)
  expect(standby).toBeDefined()
  expect(admin).toMatchObject({ host: '0.0.0.0', port: 9464 })
  const hosts = routes.flatMap(({ source, sink }) => [source, sink].map(({ name }) => new URL(name).hostname))
  for (const host of hosts) expect(Object.keys(services)).toContain(host)
})

test('the example has two processes of the bridge that cannot write, and publishes nothing beyond this machine', () => {
  const bridges = Object.entries(services).filter(([name]) => name.startsWith('bridge'))
  expect(bridges).toHaveLength(2)
  for (const [, { read_only, environment }] of bridges) {
    expect(read_only).toBe(true)
    expect(environment?.['ADMIN_TOKEN']).toMatch(/^\$\{ADMIN_TOKEN:\?/) // there is no default to forget
  }
  for (const { ports = [], volumes: mounted } of Object.values(services)) {
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/)
    for (const each of mounted) if (!each.startsWith('./')) expect(Object.keys(volumes)).toContain(each.split(':')[0])
  }
})

test('the image runs as another user than root, with every client at a version that the package takes', () => {
  const recipe = text('Dockerfile')
  const last = recipe.slice(recipe.lastIndexOf('\nFROM '))
  expect(last).toMatch(/\nUSER node\n/)
  const { peerDependencies } = JSON.parse(text('package.json')) as { peerDependencies: Record<string, string> }
  for (const client of ['mysql2', 'kafkajs', 'ioredis', '@nats-io/transport-node']) {
    const version = new RegExp(` ${client}@([\\d.]+)`).exec(last)?.[1]
    expect(peerDependencies[client]?.replace('^', '')).toMatch(new RegExp(`^${version}(\\.|$)`))
  }
})
