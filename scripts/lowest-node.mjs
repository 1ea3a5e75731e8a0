// Packs the built package, installs it as a user would, with the lowest Node that it supports, and uses it there.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

const { devDependencies, engines, exports } = JSON.parse(readFileSync('package.json', 'utf8'))
const lowest = engines.node.replace('>=', '')
const folder = mkdtempSync(join(tmpdir(), 'reflex-bridge-lowest-'))
const quiet = ['--no-audit', '--no-fund', '--loglevel=error']
try {
  const [{ filename }] = JSON.parse(
    execFileSync('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', folder], { encoding: 'utf8' }),
  )
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }))
  const install = (...packages) =>
    execFileSync('npm', ['install', ...quiet, ...packages], { cwd: folder, stdio: 'inherit' })
  install(`./${filename}`, `node@${lowest}.0`)
  const bin = join(folder, 'node_modules', '.bin')
  const env = { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` }
  const run = (command, ...args) => execFileSync(join(bin, command), args, { cwd: folder, env, encoding: 'utf8' })

  const version = run('node', '--version').trim()
  if (version !== `v${lowest}.0`) throw new Error(`expected Node ${lowest}, but found ${version}`)
  // Before there is any client, or fast-check, which only the harness needs.
  console.log(`ok   reflex-bridge --version: ${run('reflex-bridge', '--version').trim()}`)
  if (!run('reflex-bridge', '--help').includes('Commands:')) throw new Error('reflex-bridge --help lists no commands')
  const audit = JSON.parse(run('reflex-bridge', 'demo', '--orders', '5000', '--json').trim().split('\n').at(-1))
  const [target] = audit.targets
  if (target.delivered !== audit.committed || target.lost + target.duplicated + target.reordered > 0)
    throw new Error(`the demo's audit: ${JSON.stringify(audit)}`)
  console.log(`ok   reflex-bridge demo: ${audit.committed} committed, ${target.delivered} delivered`)

  /** What a subpath is made of, and needs to be imported; the clients of the others are not. */
  const needs = {
    './grpc': ['@grpc/grpc-js', '@bufbuild/protobuf'],
    './otel': ['@opentelemetry/api'],
    './testing': ['fast-check'],
  }
  for (const subpath of Object.keys(exports)) {
    if (needs[subpath]) install(...needs[subpath].map((name) => `${name}@${devDependencies[name]}`))
    const name = join('reflex-bridge', subpath)
    const names = run(
      'node',
      '--input-type=module',
      '-e',
      `console.log(Object.keys(await import('${name}')).length)`,
    ).trim()
    if (!(Number(names) > 0)) throw new Error(`${name} exports nothing`)
    console.log(`ok   import '${name}' (${names} names) on Node ${version}`)
  }
  // TypeScript, as Node runs it.
  writeFileSync(
    join(folder, 'spec.ts'),
    `import { memoryLog, type NewEvent } from 'reflex-bridge'
import type { SourceSubject } from 'reflex-bridge/testing'
export function create(): SourceSubject {
  const log = memoryLog({ batchSize: 3 })
  return { source: log.source, append: async (events: readonly NewEvent[]) => log.append(...events).map(({ id }) => id) }
}`,
  )
  const report = JSON.parse(
    run('reflex-bridge', 'verify', './spec.ts', '--runs', '20', '--json').trim().split('\n').at(-1),
  )
  const failed = report.properties.filter(({ outcome }) => outcome === 'failed')
  if (failed.length > 0 || !(report.schedules > 100)) throw new Error(`verify: ${JSON.stringify(report)}`)
  console.log(`ok   reflex-bridge verify: ${report.properties.length} properties, ${report.schedules} schedules`)
} finally {
  rmSync(folder, { recursive: true, force: true })
}
