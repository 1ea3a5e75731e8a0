import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import {
  openSqlite,
  sqliteCursors,
  sqliteDeadLetters,
  sqliteEvents,
  sqliteSink,
} from '../../src/adapters/sqlite/index.ts'
import { wireNames } from '../../src/core/index.ts'
import { eventsIn } from '../cli/logs.ts'
import { newFile } from '../sqlite/new-file.ts'

const COUNT = 400
const ROUNDS = 10

test(`a bridge that is killed ${ROUNDS} times with kill -9 has each event in the destination once or in the dead letters once, by key in order`, async () => {
  const file = newFile()
  const database = openSqlite(file)
  onTestFinished(() => database.close())
  const events = sqliteEvents(database)
  const letters = sqliteDeadLetters(database)
  events.createTable()
  letters.createTable()
  sqliteSink(database, { table: 'log' }).createTable()
  sqliteCursors(database).createTable()
  const keyOf = (id: number): string => `e${id % 40}`
  const isPoison = (id: number): boolean => id % 37 === 0
  for (let id = 1; id <= COUNT; id++)
    events.insert(database, { type: 1, foreignId: keyOf(id), headers: isPoison(id) ? { poison: '1' } : {} })

  const script = fileURLToPath(new URL('./forward-poison.ts', import.meta.url))
  const execArgv = ['--conditions=reflex-bridge-source']
  /** Runs a process until it has saved so many checkpoints, or is at the end. */
  async function forward(saves: number): Promise<void> {
    const child = fork(script, [file], { execArgv })
    onTestFinished(() => void child.kill('SIGKILL'))
    const exited = once(child, 'exit')
    await new Promise<void>((resolve, reject) => {
      let count = 0
      child.on('message', (cursor) => (++count === saves || cursor === `${COUNT}`) && resolve())
      child.on('exit', () => reject(new Error('the process has ended by itself')))
    })
    child.kill('SIGKILL')
    await exited
  }
  for (let round = 0; round < ROUNDS; round++) await forward(1 + (round % 5))
  await forward(Number.POSITIVE_INFINITY)

  const sent = (await eventsIn(sqliteEvents(database, { table: 'log' }).source)).map(({ headers }) =>
    Number(headers[wireNames.sourceId]),
  )
  const aside = (await letters.list({ consumer: 'route', limit: COUNT })).map(({ eventId }) => Number(eventId))
  const held = (id: number): boolean =>
    Array.from({ length: id }, (_, i) => i + 1).some((each) => isPoison(each) && keyOf(each) === keyOf(id))
  const all = Array.from({ length: COUNT }, (_, i) => i + 1)
  expect(sent.toSorted((a, b) => a - b)).toEqual(all.filter((id) => !held(id)))
  expect(aside.toSorted((a, b) => a - b)).toEqual(all.filter(held))
  expect(sent).toEqual(sent.toSorted((a, b) => a - b))
})
