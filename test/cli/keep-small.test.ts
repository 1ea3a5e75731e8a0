import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'

/** The flags that the command has run with in the end, and its pid, which must be the one it was started with. */
function flagsOf(args: readonly string[], environment: Readonly<Record<string, string>> = {}): string[] {
  const report = `
    const started = process.env.STARTED ??= String(process.pid)
    process.on('exit', () => console.error(JSON.stringify([started === String(process.pid), ...process.execArgv])))`
  const flags = ['--conditions=reflex-bridge-source', '--import', `data:text/javascript,${encodeURIComponent(report)}`]
  const { stderr } = spawnSync(process.execPath, [...flags, 'src/cli/main.ts', ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...environment },
  })
  const [samePid, ...found] = JSON.parse(stderr.trimEnd().split('\n').at(-1) as string) as [boolean, ...string[]]
  expect(samePid).toBe(true)
  expect(stderr).not.toContain('unrecognized flag') // what V8 says of a flag that it does not have
  return found
}
const sizes = (flags: readonly string[]): string[] => flags.filter((flag) => flag.includes('semi-space'))

test('what forwards events keeps little, in the process that was started', () => {
  expect(sizes(flagsOf(['run', '--help']))).toEqual(['--max-semi-space-size=4'])
  expect(sizes(flagsOf(['verify', '--help']))).toEqual(['--max-semi-space-size=4'])
})

test('what is soon done starts as it is, and so does what was given another size', () => {
  expect(sizes(flagsOf(['--help']))).toEqual([])
  expect(sizes(flagsOf(['run', '--help'], { NODE_OPTIONS: '--max-semi-space-size=32' }))).toEqual([])
})
