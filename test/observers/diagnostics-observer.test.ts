import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { expect, onTestFinished, test } from 'vitest'
import { memoryCursors, memoryLog, run, supervise } from '../../src/core/index.ts'
import { diagnosticsObserver } from '../../src/observers/index.ts'
import { simulatedClock } from '../tools/simulated-clock.ts'

const members = ['opened', 'progress', 'timed', 'saved', 'repaired', 'passed', 'closed', 'failed', 'restarting']

/** Writes down what all channels carry. */
function listen(): unknown[] {
  const heard: unknown[] = []
  for (const member of members) {
    const hear = (message: unknown): void => {
      heard.push([member, message])
    }
    subscribe(`reflex-bridge:${member}`, hear)
    onTestFinished(() => void unsubscribe(`reflex-bridge:${member}`, hear))
  }
  return heard
}

test('what an observer is told is published, with the name', async () => {
  const heard = listen()
  const log = memoryLog()
  log.append({ type: 1, foreignId: 'a', timestamp: 7 })
  const clock = simulatedClock()
  let fails = true
  const broken = new Error('broken')
  const consumer = {
    name: 'c',
    handle: () => {
      if (fails) throw broken
    },
  }
  const observer = diagnosticsObserver('mailer')
  const attempts = supervise(
    (o) => {
      const attempt = run({ stream: log.source.stream, cursors: memoryCursors(), consumer }, { ...o, toHead: true })
      return attempt.finally(() => {
        fails = false
      })
    },
    { clock, observer, random: () => 0.5 },
  )
  await clock.until(attempts)
  observer.repaired('refilled')
  observer.passed({ eventId: '9', as: 'skipped', reason: 'x' })
  const name = 'mailer'
  const at = clock.now()
  const error = expect.objectContaining({ cause: broken })
  expect(heard).toEqual([
    ['opened', { name, cursor: '' }],
    ['closed', { name }],
    ['failed', { name, error }],
    ['restarting', { name, delayMs: 50, failures: 1, error }],
    ['opened', { name, cursor: '' }],
    ['timed', { name, count: 1, ms: 0 }],
    ['progress', { name, cursor: '1', handled: 1, skipped: 0, timestamp: 7, at }],
    ['saved', { name, cursor: '1@1' }],
    ['progress', { name, cursor: '1', handled: 0, skipped: 0, timestamp: 7, at }],
    ['closed', { name }],
    ['repaired', { name, text: 'refilled' }],
    ['passed', { name, eventId: '9', as: 'skipped', reason: 'x' }],
  ])
})

test('nothing is made of what nobody has subscribed to', () => {
  const observer = diagnosticsObserver('mailer')
  const untouchable = new Proxy({} as { name: string; cursor: string }, {
    ownKeys: () => {
      throw new Error('copied')
    },
  })
  expect(() => observer.opened(untouchable)).not.toThrow()
  listen()
  expect(() => observer.opened(untouchable)).toThrow('copied')
})
