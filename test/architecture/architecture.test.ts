import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, it } from 'vitest'

const files = readdirSync('src', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.replaceAll('\\', '/'))

/** The room of a file: its first folder; each adapter is one of its own. */
const roomOf = (file: string): string => file.match(/^adapters\/[^/]+|^[^/]+(?=\/)/)?.[0] ?? 'index'

/** What each room may import. */
const mayImport: Record<string, readonly string[]> = {
  core: [],
  sql: ['core'],
  bridge: ['core'],
  adapters: ['core', 'sql'],
  patterns: ['core'],
  pubsub: ['core', 'patterns'],
  observers: ['core'],
  otel: ['core', 'observers'],
  testing: ['core', 'bridge'],
  index: ['core', 'bridge'],
  service: ['core', 'sql', 'bridge', 'adapters', 'patterns', 'pubsub', 'observers', 'otel', 'testing'],
  cli: ['core', 'sql', 'bridge', 'adapters', 'patterns', 'pubsub', 'observers', 'otel', 'testing', 'service'],
}

/** Packages that a room may import; Node's own modules are free to all but `core`, which takes only what is listed. */
const mayUse: Record<string, readonly string[]> = {
  core: ['node:timers/promises'],
  'adapters/kafka': ['snappy', 'lz4-napi'], // what a topic is compressed with, not its client
  'adapters/grpc': ['@grpc/grpc-js', '@bufbuild/protobuf', '@bufbuild/protobuf/codegenv2', '@bufbuild/protobuf/wkt'],
  otel: ['@opentelemetry/api'],
  testing: ['testcontainers', 'fast-check'],
  service: ['yaml', 'zod', 'pino', '@nats-io/transport-node', 'ioredis', 'kafkajs', 'mysql2', 'mysql2/promise'],
  cli: [
    'commander',
    'pino',
    'yaml',
    'zod',
    'ioredis',
    'kafkajs',
    '@nats-io/transport-node',
    '@nats-io/jetstream',
    'mysql2/promise',
  ],
}

/** A client, or a test tool, is loaded when it is needed, not when the file is. */
const loadedWhenNeeded: readonly string[] = [
  'testcontainers',
  'ioredis',
  'kafkajs',
  'snappy',
  'lz4-napi',
  '@nats-io/transport-node',
  'mysql2',
  'mysql2/promise',
]

function importsOf(file: string): { specifier: string; dynamic: boolean }[] {
  const text = readFileSync(join('src', file), 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
  const fixed = [...text.matchAll(/(?:import|export)\s[^'"]*?from\s+'([^']+)'|import\s+'([^']+)'/g)].map(
    (m) => (m[1] ?? m[2]) as string,
  )
  const dynamic = [...text.matchAll(/import\(\s*'([^']+)'\s*\)/g)].map((m) => m[1] as string)
  return [
    ...fixed.map((specifier) => ({ specifier, dynamic: false })),
    ...dynamic.map((specifier) => ({ specifier, dynamic: true })),
  ]
}

describe('architecture', () => {
  it('lets each file import only what its place allows', () => {
    const violations: string[] = []
    for (const file of files) {
      const room = roomOf(file)
      const kind = room.startsWith('adapters/') ? 'adapters' : room
      for (const { specifier, dynamic } of importsOf(file)) {
        const told = `${file} imports ${specifier}`
        if (specifier.startsWith('.')) {
          const target = roomOf(normalize(join(dirname(file), specifier)).replaceAll('\\', '/'))
          const wanted = target.startsWith('adapters/') && kind !== 'adapters' ? 'adapters' : target
          if (target !== room && !mayImport[kind]?.includes(wanted)) violations.push(told)
        } else if (kind === 'core' || !specifier.startsWith('node:')) {
          if (!(mayUse[room] ?? mayUse[kind])?.includes(specifier)) violations.push(told)
          if (loadedWhenNeeded.includes(specifier) && !dynamic) violations.push(`${told}, but not dynamically`)
        }
      }
    }
    expect(violations).toEqual([])
  })

  const { exports } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    exports: Record<string, { 'reflex-bridge-source': string }>
  }
  it.each(Object.keys(exports))('importing %s loads no other package', (subpath) => {
    const name = join('reflex-bridge', subpath)
    // These are made of what they are named after: who imports them has it.
    const allowed =
      {
        './testing': 'node_modules.(fast-check|pure-rand)',
        './grpc': 'node_modules.(@grpc|@bufbuild.protobuf|@js-sdsl|long|protobufjs|@protobufjs|lodash)',
        './otel': 'node_modules.@opentelemetry.api',
      }[subpath] ?? 'none'
    const script = `
      import { registerHooks } from 'node:module'
      const loaded = []
      registerHooks({ resolve(specifier, context, next) { const found = next(specifier, context); if (found.url.includes('/node_modules/') && !/${allowed}/.test(found.url)) loaded.push(found.url); return found } })
      await import(${JSON.stringify(name)})
      if (loaded.length > 0) { console.error(loaded.join('\\n')); process.exit(1) }`
    execFileSync('node', ['--conditions=reflex-bridge-source', '--input-type=module', '-e', script], { stdio: 'pipe' })
  })

  it('uses nothing that the lowest Node lacks', () => {
    const lacking = /new (Async)?DisposableStack|Promise\.try|Error\.isError/
    expect(files.filter((file) => lacking.test(readFileSync(join('src', file), 'utf8')))).toEqual([])
  })

  it('has no cycle between files', () => {
    const state = new Map<string, 'open' | 'done'>()
    const visit = (file: string, path: readonly string[]): void => {
      if (state.get(file) === 'done') return
      expect(state.get(file), `a cycle: ${[...path, file].join(' -> ')}`).toBeUndefined()
      state.set(file, 'open')
      for (const { specifier } of importsOf(file)) {
        if (specifier.startsWith('.'))
          visit(normalize(join(dirname(file), specifier)).replaceAll('\\', '/'), [...path, file])
      }
      state.set(file, 'done')
    }
    for (const file of files) visit(file, [])
  })
})
