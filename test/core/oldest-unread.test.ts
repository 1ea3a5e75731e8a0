import { expect, test } from 'vitest'
import { memoryLog, oldestUnread } from '../../src/core/index.ts'
import { errorOf } from '../tools/reader.ts'

const log = memoryLog({ batchSize: 2 })
for (let i = 1; i <= 5; i++) log.append({ type: i === 5 ? 2 : 1, foreignId: `e${i}`, timestamp: i * 1000 })

test('the oldest unread event is the first after the cursor, of the types that are asked for', async () => {
  expect((await oldestUnread(log.source, ''))?.id).toBe('1')
  expect((await oldestUnread(log.source, '3'))?.timestamp).toBe(4000)
  expect((await oldestUnread(log.source, '', { types: [2] }))?.id).toBe('5')
})

test('there is none at the head, and it does not wait for one', async () => {
  expect(await oldestUnread(log.source, '5')).toBeUndefined()
  expect(await oldestUnread(log.source, '', { types: [3] })).toBeUndefined()
})

test('it rejects as the source does', async () => {
  expect(await errorOf(oldestUnread(log.source, '9'))).toMatchObject({ code: 'CURSOR_AHEAD' })
  const reason = new Error('enough')
  expect(await errorOf(oldestUnread(log.source, '', { signal: AbortSignal.abort(reason) }))).toBe(reason)
})
