import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { setImmediate as turn } from 'node:timers/promises'
import type { SourceSubject } from 'reflex-bridge/testing'
import { jsonLines, lineId, toLine } from './json-lines.ts'

/** A fresh file, and what can happen to it. */
export function create(): SourceSubject {
  const folder = fs.mkdtempSync(`${tmpdir()}/json-lines-`)
  const path = `${folder}/log`
  fs.writeFileSync(path, '')
  return {
    source: jsonLines(path, { pollMs: 5, chunkBytes: 64 }),
    malformed: ['12', '12-', '-1', '0-XYZ'],
    append: async (events) => {
      const ids: string[] = []
      for (const line of events.map(toLine)) {
        ids.push(lineId(fs.statSync(path).size, Buffer.from(line)))
        fs.appendFileSync(path, line.slice(0, 9))
        await turn() // readers meet a line that is being written
        fs.appendFileSync(path, `${line.slice(9)}\n`)
      }
      return ids
    },
    corrupt: async () => fs.appendFileSync(path, '{"type":1,\n'),
    rewind: async (id) => fs.truncateSync(path, fs.readFileSync(path).indexOf('\n', Number(id.split('-')[0])) + 1),
    recreate: async () => fs.writeFileSync(path, ''),
    [Symbol.asyncDispose]: async () => fs.rmSync(folder, { recursive: true }),
  }
}
