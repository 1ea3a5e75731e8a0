import { setTimeout as pause } from 'node:timers/promises'
import { expect } from 'vitest'
import { codeOf } from '../../src/core/errors.ts'
import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'
import { errorOf } from '../tools/reader.ts'
import { moments } from './moments.ts'
import { whileDown, whileFrozen } from './source-lifetimes.ts'
import type { Lifetime } from './stage.ts'

type Subject = CursorStoreSubject & Required<Pick<CursorStoreSubject, 'cut' | 'freeze'>>
type StoreLifetime = Lifetime<Subject>

/** A cursor store has no lifetime of its own: soon after its last use nothing is left. */
export const stores: Readonly<Record<string, StoreLifetime>> = {
  'a store that was used': async ({ subject: { cursors }, caller }) => {
    await cursors.get('a', caller())
    await cursors.set('a', '1', '')
    await cursors.reset('a', '2')
    await cursors.list?.()
  },
  'a store that refused': async ({ subject: { cursors } }) => {
    await cursors.set('a', '1', '')
    expect(codeOf(await errorOf(cursors.set('a', '3', '2')))).toBe('CURSOR_CONFLICT')
  },
  'a read that was aborted before, or at any moment': async ({ subject: { cursors }, caller }) => {
    for (const moment of moments) {
      const { signal, abort } = bound(caller())
      const reading = cursors.get('a', { signal }).catch(() => {})
      await moment()
      abort()
      await reading
      await errorOf(cursors.get('a', { signal }))
    }
  },
  'connections that are cut, and a use after that': async ({ subject, outside }) => {
    await subject.cursors.get('a')
    await outside(() => subject.cut())
    await subject.cursors.get('a').catch(() => {}) // the end may not have been heard of yet
    await subject.cursors.get('a')
  },
  'a server that is frozen after a use': async (stage) => {
    await stage.subject.cursors.get('a')
    await whileFrozen(stage, async () => {})
  },
  'a server that is frozen, noticed by a use': async (stage) => {
    await stage.subject.cursors.get('a')
    await whileFrozen(stage, () => errorOf(stage.subject.cursors.get('a')))
  },
  'a server that is down': (stage) => whileDown(stage, () => errorOf(stage.subject.cursors.get('a'))),
}

/** What connects to a server that accepts connections, and says nothing. */
export const frozenStores: Readonly<Record<string, StoreLifetime>> = {
  'a use while the server is frozen': (stage) => whileFrozen(stage, () => errorOf(stage.subject.cursors.get('a'))),
  'a read while the server is frozen, and an abort': (stage) =>
    whileFrozen(stage, async () => {
      const { signal, abort } = bound(stage.caller())
      const failing = errorOf(stage.subject.cursors.get('a', { signal }))
      await pause(100)
      abort()
      await failing
    }),
}

function bound(caller: AbortController): { signal: AbortSignal; abort: () => void } {
  return { signal: caller.signal, abort: () => caller.abort(new Error('no more')) }
}
