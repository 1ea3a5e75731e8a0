// Writes the TypeScript of proto/. With --check: lints it, holds it against the baseline, which is what was last released, and sees that
// what is committed is what it makes. With --baseline: writes the baseline. Needs no network.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const BASELINE = 'scripts/proto-baseline.binpb'
const GENERATED = 'src/adapters/grpc/generated'
const buf = (...args) => {
  const { status, error } = spawnSync('buf', args, { stdio: ['ignore', 'inherit', 'inherit'] })
  if (error !== undefined) console.error(error.message)
  if (status !== 0) process.exitCode = 1
}
/** All files of a folder, by their path in it. */
const filesIn = (folder) =>
  new Map(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name))
      .sort()
      .map((path) => [path.slice(folder.length + 1), readFileSync(path, 'utf8')]),
  )

const [mode] = process.argv.slice(2)
if (mode === '--check') {
  buf('lint')
  buf('breaking', '--against', BASELINE)
  const folder = mkdtempSync(join(tmpdir(), 'reflex-bridge-proto-'))
  try {
    buf('generate', '--output', folder)
    const made = filesIn(join(folder, GENERATED))
    const there = filesIn(GENERATED)
    const names = new Set([...made.keys(), ...there.keys()])
    const stale = [...names].filter((name) => made.get(name) !== there.get(name))
    if (stale.length > 0) {
      console.error(
        `${GENERATED} is not what proto/ makes (${stale.join(', ')}): run node scripts/proto.mjs, and commit it`,
      )
      process.exitCode = 1
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
} else if (mode === '--baseline') buf('build', '-o', BASELINE)
else buf('generate')
