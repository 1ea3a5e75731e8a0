// Runs every check that needs no server, all of them also after one has failed, and says which did.
import { spawnSync } from 'node:child_process'

const checks = [
  ['types', 'tsc', ['-p', 'tsconfig.json']],
  ['format and lint', 'biome', ['check', '--error-on-warnings', '.']],
  ['floating and misused promises', 'oxlint', ['--type-aware', '--deny-warnings', '-c', '.oxlintrc.json']],
  ['dead code and dependencies', 'knip', []],
  ['protobuf: lint, breaking changes, generated code', 'node', ['scripts/proto.mjs', '--check']],
  ['build', 'node', ['scripts/build.mjs']],
  ['package shape', 'publint', ['--strict']],
  ['types as users resolve them', 'attw', ['--pack', '.', '--profile', 'esm-only', '--no-emoji', '--format', 'ascii']],
  ['architecture', 'vitest', ['run', '--config', 'test/without-servers.vitest.config.ts', 'test/architecture']],
]

const failed = []
for (const [name, command, args] of checks) {
  const started = Date.now()
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, FORCE_COLOR: '0' },
  })
  const ok = status === 0
  console.log(`${ok ? 'ok  ' : 'FAIL'} ${name} (${command}, ${((Date.now() - started) / 1000).toFixed(1)} s)`)
  if (ok) continue
  failed.push(name)
  console.log(error ? error.message : `${stdout}${stderr}`)
}
if (failed.length > 0) {
  console.log(`${failed.length} of ${checks.length} checks failed: ${failed.join(', ')}`)
  process.exit(1)
}
console.log(`all ${checks.length} checks passed`)
