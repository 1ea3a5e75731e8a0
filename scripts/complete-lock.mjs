// Completes package-lock.json after a dependency changed: npm leaves out the other platforms' optional packages when the
// registry at hand does not carry them, and `npm ci` then refuses the lock file. Adds them by name and version, so that the
// same lock installs everywhere. Usage: node scripts/complete-lock.mjs
import { readFileSync, writeFileSync } from 'node:fs'

const lock = JSON.parse(readFileSync('package-lock.json', 'utf8'))
const systems = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'openharmony', 'sunos', 'win32']
const processors = ['arm64', 'arm', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'x64']

let added = 0
for (const entry of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const path = `node_modules/${name}`
    if (lock.packages[path] !== undefined) continue
    const parts = name.split(/[/-]/)
    const os = systems.find((system) => parts.includes(system))
    const cpu = processors.find((processor) => parts.includes(processor))
    if (os === undefined || !/^\d/.test(version)) continue
    const libc = parts.some((part) => part.startsWith('musl'))
      ? ['musl']
      : parts.some((part) => part === 'gnu')
        ? ['glibc']
        : undefined
    lock.packages[path] = {
      version,
      ...(cpu && { cpu: [cpu] }),
      dev: true,
      ...(libc && { libc }),
      optional: true,
      os: [os],
    }
    added++
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)))
writeFileSync('package-lock.json', `${JSON.stringify(lock, null, 2)}\n`)
console.log(`${added} optional packages of other platforms added`)
