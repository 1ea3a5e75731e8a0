import fc from 'fast-check'
import { expect, test } from 'vitest'
import { openSqlite, type SqliteDeadLetters, sqliteDeadLetters } from '../../src/adapters/sqlite/index.ts'
import type { DeadLetters } from '../../src/bridge/dead-letters.ts'
import type { Event } from '../../src/core/event.ts'
import { arbitraryEvent, comparable } from '../tools/arbitrary-event.ts'
import { errorOf } from '../tools/reader.ts'

function stage(): SqliteDeadLetters {
  const letters = sqliteDeadLetters(openSqlite(':memory:'))
  letters.createTable()
  return letters
}

function eventOf(id: string, rest: Partial<Event> = {}): Event {
  return { id, type: 1, foreignId: `e${id}`, timestamp: 0, metadata: null, headers: {}, ...rest }
}

test('keeps all of an event, also text that no destination can hold', async () => {
  const letters: DeadLetters = stage()
  let count = 0
  const play = async (given: Parameters<typeof comparable>[0]): Promise<void> => {
    const event = { metadata: null, headers: {}, timestamp: 0, ...given, id: `${count++}` }
    await letters.record(event.id, new Error('refused'), event)
    const [letter, ...more] = await letters.list({ consumer: event.id })
    expect([letter?.eventId, letter?.message, letter?.attempts, more]).toEqual([event.id, 'refused', 1, []])
    expect(comparable(letter?.event as Event)).toEqual(comparable(event))
  }
  await fc.assert(fc.asyncProperty(arbitraryEvent(), play), { numRuns: 50 })
  await letters.record('r', 'no \udc00', eventOf('x', { headers: { h: '\ud800' } }))
  expect(await letters.list({ consumer: 'r' })).toMatchObject([
    { message: 'no \ufffd', event: { headers: { h: '\ud800' } } },
  ])
})

test('has one letter of a consumer and an event, which is opened again when it is recorded again', async () => {
  const letters = stage()
  await letters.record('r', new Error('first'), eventOf('1'))
  await letters.record('other', new Error('other'), eventOf('1'))
  const [letter] = await letters.list({ consumer: 'r' })
  await letters.resolve(letter?.id as string)
  expect(await letters.list({ consumer: 'r' })).toEqual([])
  expect(await letters.list({ consumer: 'r', status: 'resolved' })).toEqual([letter])
  await letters.record('r', new Error('second'), eventOf('1'))
  expect(await letters.list({ consumer: 'r' })).toMatchObject([{ id: letter?.id, message: 'second', attempts: 2 }])
})

test('lists page by page, in the order in which they were recorded', async () => {
  const letters = stage()
  for (const id of ['9', '10', '2']) await letters.record('r', new Error('no'), eventOf(id))
  const first = await letters.list({ consumer: 'r', limit: 2 })
  const second = await letters.list({ consumer: 'r', limit: 2, after: first.at(-1)?.id })
  expect([first, second].map((page) => page.map(({ eventId }) => eventId))).toEqual([['9', '10'], ['2']])
})

test('refuses to resolve what is not there', async () => {
  const letters = stage()
  for (const id of ['1', 'x']) expect(await errorOf(letters.resolve(id))).toMatchObject({ code: 'DEAD_LETTER_MISSING' })
})
