import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** The rows of docs/traps.md: id and the file of the test that is named after it. */
const rows = readFileSync(join(root, 'docs/traps.md'), 'utf8')
  .split('\n')
  .flatMap((line) => {
    const [, id, , , file] = line.split(/(?<!\\)\|/).map((cell) => cell.trim())
    return id !== undefined && file !== undefined && /^\S+ \d+$/.test(id)
      ? [{ id, file: file.replaceAll('`', '') }]
      : []
  })

/** The traps that the titles of tests name, each with its file. */
const tested = ['kafka', 'jetstream', 'redis'].flatMap((folder) =>
  readdirSync(join(root, 'test', folder))
    .filter((file) => file.endsWith('.test.ts'))
    .flatMap((file) => {
      const source = readFileSync(join(root, 'test', folder, file), 'utf8')
      return Array.from(source.matchAll(/['"`]trap (\S+ \d+): /g), ([, id]) => ({ id, file: `test/${folder}/${file}` }))
    }),
)

const texts = (traps: readonly { readonly id: string | undefined; readonly file: string }[]): string[] =>
  [...new Set(traps.map(({ id, file }) => `${id} ${file}`))].sort()

describe('docs/traps.md', () => {
  it('has a row for each trap that a test is named after, with its file, and no other', () => {
    expect(texts(rows)).toEqual(texts(tested))
    expect(rows.length).toBeGreaterThan(0)
  })

  it('numbers the traps of each client without a gap', () => {
    const clients = Map.groupBy(rows, ({ id }) => id.split(' ')[0] as string)
    for (const [client, of] of clients) {
      const numbers = [...new Set(of.map(({ id }) => Number(id.split(' ')[1])))].sort((a, b) => a - b)
      expect(numbers, client).toEqual(Array.from(numbers, (_, i) => i + 1))
    }
  })
})
