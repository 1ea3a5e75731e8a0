import { spawnSync } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { dockerCompose } from '../tools/docker-compose.ts'

interface Compose {
  services: Record<
    string,
    { image: string; command?: string[]; healthcheck?: { test: string[] }; ports: string[]; volumes: string[] }
  >
  volumes: Record<string, unknown>
}

const file = fileURLToPath(new URL('../../docker-compose.yml', import.meta.url))
const compose = parse(await readFile(file, 'utf8')) as Compose

test('each of the four servers has an image variable, a health check, local ports and a named volume', () => {
  expect(Object.keys(compose.services).sort()).toEqual(['kafka', 'mysql', 'nats', 'redis'])
  for (const [name, service] of Object.entries(compose.services)) {
    expect(service.image).toMatch(new RegExp(`^\\$\\{${name.toUpperCase()}_IMAGE:-[a-z/]+:[0-9.a-z-]+\\}$`))
    expect(service.healthcheck?.test.length).toBeGreaterThan(1)
    expect(service.ports.length).toBeGreaterThan(0)
    for (const port of service.ports) expect(port).toMatch(/^127\.0\.0\.1:/)
    for (const volume of service.volumes) expect(Object.keys(compose.volumes)).toContain(volume.split(':')[0])
  }
  expect(compose.services['redis']?.command).toEqual(['redis-server', '--appendonly', 'yes'])
  expect(compose.services['nats']?.command).toContain('-js')
})

test.each([
  ['docker-compose.yml', {}],
  ['examples/service/compose.yaml', { ADMIN_TOKEN: 'a'.repeat(16), DB_PASSWORD: 'secret' }],
])(
  'docker compose accepts %s',
  async (path, environment) => {
    const [command = '', ...args] = await dockerCompose()
    const { status, stderr } = spawnSync(command, [...args, '-f', path, 'config', '-q'], {
      encoding: 'utf8',
      env: { ...process.env, ...environment },
    })
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  },
  240_000,
)
