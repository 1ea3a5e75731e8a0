#!/usr/bin/env node
// Runs a command with the Node this repository pins, on any Node >= 18: installs the locked dependencies first where
// they are missing or older than the lock file. Usage: node scripts/pinned.mjs COMMAND [ARGUMENT...]
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const bin = join(root, 'node_modules', '.bin')
const [command, ...args] = process.argv.slice(2)

function fail(message) {
  console.error(`reflex-bridge: ${message}`)
  process.exit(1)
}

if (command === undefined) fail('expected a command, for example: node scripts/pinned.mjs vitest run')
if (Number(process.versions.node.split('.')[0]) < 18) {
  fail(`this needs Node 18 or newer to start (found ${process.versions.node}); install one from https://nodejs.org`)
}

// The stamp holds the lock file's hash, so that a changed lock or an interrupted install is installed again.
const lock = createHash('sha256')
  .update(readFileSync(join(root, 'package-lock.json')))
  .digest('hex')
const stamp = join(root, 'node_modules', '.reflex-bridge-installed')
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== lock) {
  console.error('reflex-bridge: installing the locked dependencies (npm ci), once')
  const npm = spawnSync('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32',
  })
  if (npm.error) fail(`npm could not be started (${npm.error.message}); is npm on your PATH?`)
  if (npm.status !== 0) fail(`npm ci failed with exit code ${npm.status}; its output is above`)
  writeFileSync(stamp, lock)
}
if (!existsSync(join(bin, 'node'))) {
  fail(
    'the pinned Node is missing from node_modules (its install script did not run); allow install scripts and run: npm ci',
  )
}

const child = spawn(command, args, {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH}` },
  shell: process.platform === 'win32',
})
child.on('error', (error) => fail(`${command} could not be started: ${error.message}`))
// Ctrl-C reaches the child through the terminal; a signal sent to this process alone is handed on. The child decides when to end.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
  })
}
child.on('exit', (code, signal) => process.exit(signal === null ? code : 128 + (constants.signals[signal] ?? 0)))
