import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { openSqlite, sqliteDeadLetters, sqliteEvents } from '../../src/adapters/sqlite/index.ts'
import { rewriteLetters } from '../../src/adapters/sqlite/rewrite-letters.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import { type RewriteLetters, retriedHeaders } from '../../src/sql/rewrite-letters.ts'
import { eventsIn } from '../cli/logs.ts'
import { arbitraryEvent, comparable } from '../tools/arbitrary-event.ts'
import { errorOf } from '../tools/reader.ts'
import { newFile } from './new-file.ts'

function stage() {
  const file = newFile()
  const database = openSqlite(file)
  onTestFinished(() => database.close())
  const events = sqliteEvents(database)
  events.createTable()
  const letters = sqliteDeadLetters(database)
  letters.createTable()
  /** As another process would. */
  const another = (): RewriteLetters => {
    const own = openSqlite(file)
    onTestFinished(() => own.close())
    return rewriteLetters(own, { letters: 'dead_letters', source: 'events' })
  }
  const putAside = async (...given: readonly NewEvent[]): Promise<string[]> => {
    const { ids } = events.insert(database, ...given)
    for (const [i, event] of given.entries()) {
      const whole = { metadata: null, headers: {}, timestamp: 0, ...event, id: ids[i] as string }
      await letters.record('r', new Error('refused'), whole)
    }
    return [...ids]
  }
  return { database, events, letters, putAside, another, rewrite: another() }
}

const head = async ({ events }: Pick<ReturnType<typeof stage>, 'events'>): Promise<string> =>
  (await events.source.head?.()) as string

test('writes every kind of event anew as it is, with the id and the time that it had', async () => {
  const staged = stage()
  const play = async (given: Required<NewEvent>): Promise<void> => {
    const [id = ''] = await staged.putAside(given)
    const [done] = await staged.rewrite({ consumer: 'r', foreignId: given.foreignId, passed: await head(staged) })
    const { timestamp, headers, ...rest } = (await eventsIn(staged.events.source)).at(-1) as Event
    const { [retriedHeaders.id]: oldId, [retriedHeaders.timestamp]: oldTime, ...others } = headers
    expect(comparable({ ...rest, headers: others, timestamp: given.timestamp })).toEqual(comparable(given))
    expect([done, oldId]).toEqual([{ eventId: id, newId: rest.id }, id])
    expect(Date.parse(oldTime as string)).toBe(Math.floor(given.timestamp))
    expect(Math.abs(timestamp - Date.now())).toBeLessThan(60_000)
    expect(await staged.letters.list({ consumer: 'r' })).toEqual([])
  }
  await fc.assert(fc.asyncProperty(arbitraryEvent(), play), { numRuns: 30, seed: 1, endOnFailure: true })
})

test('writes all letters of a foreignId or none, each once, however many do it at once', async () => {
  const staged = stage()
  const { database, letters, putAside, another, events } = staged
  const held: NewEvent = { type: 1, foreignId: 'a', headers: { h: '\ud800' } }
  const ids = await putAside({ type: 1, foreignId: 'a' }, { type: 2, foreignId: 'a' })
  const [bad = ''] = events.insert(database, { type: 3, foreignId: 'a' }).ids
  await letters.record('r', new Error('x'), { metadata: null, timestamp: 0, headers: {}, ...held, id: bad })
  const options = { consumer: 'r', foreignId: 'a', passed: await head(staged) }
  expect(codeOf(await errorOf(another()(options)))).toBe('EVENT_UNENCODABLE')
  expect([await head(staged), (await letters.list({ consumer: 'r' })).length]).toEqual([bad, 3])
  const [, , third] = await letters.list({ consumer: 'r' })
  await letters.resolve(third?.id ?? '')
  const done = (await Promise.all([another(), another(), another()].map((each) => each(options)))).flat()
  expect(done.map(({ eventId }) => eventId)).toEqual(ids)
  expect((await eventsIn(events.source)).slice(3).map(({ headers }) => headers[retriedHeaders.id])).toEqual(ids)
})

test('refuses a letter before an older one, and while the route has not passed an event of the foreignId', async () => {
  const staged = stage()
  const { database, events, rewrite, putAside } = staged
  const [first = '', second = ''] = await putAside({ type: 1, foreignId: 'a' }, { type: 1, foreignId: 'a' })
  const options = { consumer: 'r', foreignId: 'a', passed: await head(staged) }
  const refused = async (given: object): Promise<unknown> => codeOf(await errorOf(rewrite({ ...options, ...given })))
  expect(await refused({ chosen: new Set([second]) })).toBe('EVENT_HELD_BACK')
  expect(await refused({ passed: first })).toBe('LETTER_IN_USE')
  expect(await refused({ passed: '' })).toBe('LETTER_IN_USE')
  events.insert(database, { type: 1, foreignId: 'a' })
  expect(await refused({})).toBe('LETTER_IN_USE')
  const now = { ...options, passed: await head(staged) }
  expect(await rewrite({ ...now, foreignId: 'A' })).toEqual([])
  expect(await rewrite({ ...now, chosen: new Set([first]) })).toHaveLength(2)
  expect(await rewrite(now)).toEqual([])
})
