#!/usr/bin/env node
// Nothing is imported before the version is known: an older Node could not even read the rest.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 22)) {
  console.error(
    `reflex-bridge: this needs Node 22.22 or newer, but this is Node ${process.versions.node}: install one from https://nodejs.org`,
  )
  process.exitCode = 1
} else {
  const args = process.argv.slice(2)
  const { keepSmall } = await import('./keep-small.ts')
  keepSmall(args)
  const { runProgram } = await import('./program.ts')
  await runProgram(args)
}

export {}
