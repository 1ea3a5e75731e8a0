import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import type { DatabaseSync } from 'node:sqlite'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openSqlite, sqliteCursors, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import type { Event } from '../../src/core/event.ts'
import { wireNames } from '../../src/core/wire.ts'
import { eventually, reader, within } from '../tools/reader.ts'
import { newFile } from './new-file.ts'

/** A program of this folder in a process of its own. */
interface Program {
  readonly pid: number
  /** What it has printed, by lines. */
  readonly lines: readonly string[]
  /** Resolves with the exit code, or the signal that ended it, when all its output has come; rejects if it has printed an error. */
  readonly ended: Promise<number | string>
  kill(): void
}

function start(program: string, ...args: string[]): Program {
  const file = fileURLToPath(new URL(program, import.meta.url))
  const child: ChildProcessByStdio<null, Readable, Readable> = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', file, ...args],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  onTestFinished(() => void child.kill('SIGKILL'))
  const lines: string[] = []
  createInterface(child.stdout).on('line', (line) => lines.push(line))
  let errors = ''
  child.stderr.on('data', (data) => {
    errors += data
  })
  const ended = once(child, 'close').then(([code, signal]) => {
    if (errors !== '') throw new Error(errors)
    return code ?? signal
  })
  ended.catch(() => {}) // seen by whoever awaits it
  return { pid: child.pid as number, lines, ended, kill: () => void child.kill('SIGKILL') }
}

function openNew(file = newFile()): { file: string; database: DatabaseSync } {
  const database = openSqlite(file)
  onTestFinished(() => database.close())
  return { file, database }
}

async function readAll(database: DatabaseSync, after = ''): Promise<Event[]> {
  await using all = reader(await sqliteEvents(database).source.stream(after, { toHead: true }), after)
  return await all.rest()
}

describe('several processes that write one table, with rollbacks', () => {
  test('a reader loses nothing and sees all in order; ids become visible in their order, without a hole', async () => {
    const file = newFile() // created by whichever of the writers is first
    const writers = ['a', 'b', 'c'].map((name) => start('write-events.ts', file, name, '300'))
    await eventually(() => writers.every(({ lines }) => lines.length > 0), 10_000, 'the writers write')
    const { database } = openNew(file)
    const dense = database.prepare('select count(*) = max(id) as dense from events')
    const { source } = sqliteEvents(database, { batchSize: 7 })
    await using stream = reader(await source.stream('', {}))
    const read: Event[] = []
    while (read.length < 900) {
      read.push(...(await stream.take(1)))
      expect(dense.get()).toEqual({ dense: 1 })
    }
    expect(await Promise.all(writers.map(({ ended }) => ended))).toEqual([0, 0, 0])

    expect(read.map(({ id }) => id)).toEqual(Array.from({ length: 900 }, (_, i) => String(i + 1)))
    for (const name of ['a', 'b', 'c']) {
      const own = read.filter(({ foreignId }) => foreignId.startsWith(name))
      expect(own.map(({ foreignId }) => foreignId)).toEqual(own.map((_, i) => `${name}-${i + 1}`))
      expect(own).toHaveLength(300)
      expect(own.every(({ metadata }) => Buffer.from(metadata ?? []).toString() === name)).toBe(true)
    }
  })

  test('one that is killed leaves what it had committed, and nobody waits for the rest', async () => {
    const { file, database } = openNew()
    const events = sqliteEvents(database)
    events.createTable()
    await using idle = reader(await events.source.stream('', {}))
    for (const round of [1, 5, 40]) {
      const writer = start('write-events.ts', file, `w${round}`, '1000000')
      await eventually(() => writer.lines.length >= round, 10_000, 'the writer commits')
      writer.kill()
      expect(await writer.ended).toBe('SIGKILL')
      const confirmed = Number(writer.lines.at(-1))
      const [marker] = events.insert(database, { type: 2, foreignId: 'after' }).ids
      const seen: Event[] = []
      while (seen.at(-1)?.id !== marker) seen.push(...(await idle.take(1)))
      const own = seen.slice(0, -1).map(({ foreignId }) => foreignId)
      expect(own).toEqual(own.map((_, i) => `w${round}-${i + 1}`))
      expect(own.length).toBeGreaterThanOrEqual(confirmed)
    }
  })

  test('a commit of another process is found by polling', async () => {
    const { file, database } = openNew()
    const events = sqliteEvents(database)
    events.createTable()
    await using idle = reader(await events.source.stream('', {}))
    const waiting = idle.take(20)
    const writer = start('write-events.ts', file, 'w', '20')
    expect(await writer.ended).toBe(0)
    expect(await within(waiting, 2000, 'finding the commit')).toHaveLength(20)
  })

  test('open new files at the same moment, and none is refused', async () => {
    const folder = dirname(newFile())
    const startAt = String(Date.now() + 700)
    const all = [1, 2, 3].map(() => start('open-together.ts', folder, startAt, '120'))
    expect(await Promise.all(all.map(({ ended }) => ended))).toEqual([0, 0, 0])
    expect(all.map(({ lines }) => lines)).toEqual([['120'], ['120'], ['120']])
  })
})

describe('a bridge into another file', () => {
  const COUNT = 600

  function newRoute(): { from: DatabaseSync; to: DatabaseSync; files: [string, string] } {
    const [from, to] = [openNew(), openNew()]
    const events = sqliteEvents(from.database)
    events.createTable()
    sqliteCursors(from.database).createTable()
    sqliteSink(to.database).createTable()
    events.insert(from.database, ...Array.from({ length: COUNT }, (_, i) => ({ type: 1, foreignId: `e${i}` })))
    return { from: from.database, to: to.database, files: [from.file, to.file] }
  }
  const rest = (from: DatabaseSync, to: DatabaseSync, repaired?: (text: string) => void) =>
    bridge(
      { name: 'copy', source: sqliteEvents(from).source, sink: sqliteSink(to), checkpoints: sqliteCursors(from) },
      { toHead: true, observer: repaired === undefined ? {} : { repaired } },
    )
  async function expectOnce(to: DatabaseSync): Promise<void> {
    const read = await readAll(to)
    expect(read.map(({ headers }) => headers[wireNames.sourceId])).toEqual(
      Array.from({ length: COUNT }, (_, i) => String(i + 1)),
    )
    expect(read.map(({ foreignId }) => foreignId)).toEqual(Array.from({ length: COUNT }, (_, i) => `e${i}`))
  }

  test('whose process is killed at any time loses nothing and repeats nothing', async () => {
    const { from, to, files } = newRoute()
    for (let done = 0, round = 0; done < COUNT - 100; round++) {
      const process = start('forward-events.ts', ...files)
      await eventually(() => Number(process.lines.at(-1) ?? 0) > done, 10_000, 'the bridge goes on')
      if (round % 2 === 0) await new Promise((resolve) => setTimeout(resolve, Math.random() * 5))
      process.kill()
      expect(await process.ended).toBe('SIGKILL')
      done = Number(process.lines.at(-1)) + 60
    }
    await rest(from, to)
    await expectOnce(to)
  })

  test('whose process is killed between append and checkpoint goes on after what it had appended, and says so', async () => {
    const { from, to, files } = newRoute()
    for (const killAt of ['1', '3']) expect(await start('forward-events.ts', ...files, killAt).ended).toBe('SIGKILL')
    const appended = (await readAll(to)).length
    expect(appended).toBeGreaterThanOrEqual(60) // the second process saves what it found before it appends
    const repairs: string[] = []
    await rest(from, to, (text) => repairs.push(text))
    expect(repairs).toEqual([expect.stringMatching(`up to row ${appended}.*not appended again`)])
    await expectOnce(to)
  })

  test('is fenced by another process that takes the route over', async () => {
    const { from, to, files } = newRoute()
    const old = start('forward-events.ts', ...files)
    await eventually(() => Number(old.lines.at(-1) ?? 0) === COUNT, 10_000, 'the bridge is at the head')
    await rest(from, to)
    sqliteEvents(from).insert(from, { type: 1, foreignId: 'late' })
    expect(await old.ended).toBe(0)
    expect(old.lines.at(-1)).toBe('FENCED')
    await expectOnce(to)
    await rest(from, to)
    expect((await readAll(to)).at(-1)?.foreignId).toBe('late')
  })
})

test('a process that is done ends by itself', async () => {
  const program = start('use-everything.ts', newFile())
  expect(await within(program.ended, 5000, 'the end')).toBe(0)
  expect(program.lines).toEqual(['aborted 2'])
})
