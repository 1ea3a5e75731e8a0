import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

const rows = readFileSync('docs/eda-and-windshift.md', 'utf8')
  .split('\n')
  .filter((line) => /^\| [EW]\d+ /.test(line))
  .map((line) => line.split('|').map((cell) => cell.trim()))

describe('the tables of what eda and windshift could do', () => {
  it('have a row for each, in order', () => {
    const names = (letter: string, count: number): string[] =>
      Array.from({ length: count }, (_, i) => `${letter}${i + 1}`)
    expect(rows.map(([, name]) => name)).toEqual([...names('E', 27), ...names('W', 24)])
  })

  it.each(rows)('%s%s: %s', (_, __, there, here, test) => {
    expect(there).toMatch(/./)
    expect(here).toMatch(/^(done|better|refused)\b.*/)
    if (here?.startsWith('refused')) expect(here, 'with the reason').toMatch(/^refused: .{30,}/)
    const file = /^`(test\/.*\.test\.ts)`$/.exec(test ?? '')?.[1]
    expect(file !== undefined && existsSync(file), `${test} is a test`).toBe(true)
  })
})
