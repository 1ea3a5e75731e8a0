import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

/** The versions that a seed depends on, by name. */
export function usedVersions(): Readonly<Record<string, string>> {
  const own = versionIn(new URL('../../../package.json', import.meta.url))
  const fastCheck = createRequire(import.meta.url).resolve('fast-check/package.json')
  return { 'reflex-bridge': own, 'fast-check': versionIn(fastCheck), 'Node.js': process.versions.node }
}

function versionIn(file: string | URL): string {
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
