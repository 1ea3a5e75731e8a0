import { setTimeout as pause } from 'node:timers/promises'
import { expect } from 'vitest'
import type { Appended, Appender } from '../../src/core/appender.ts'
import { codeOf } from '../../src/core/errors.ts'
import { type PublishOptions, publisher } from '../../src/pubsub/index.ts'
import type { ServerFaults } from '../subjects/adapter-subjects.ts'
import { errorOf } from '../tools/reader.ts'
import { moments } from './moments.ts'
import { whileDown, whileFrozen } from './source-lifetimes.ts'
import type { Lifetime } from './stage.ts'

/** Where is published to, and what can be done to the server. */
export interface PublisherSubject extends Pick<ServerFaults['faults'], 'cut' | 'freeze'> {
  readonly to: Appender
  connections?(): Promise<number>
  [Symbol.asyncDispose]?(): void | PromiseLike<void>
}

type PublisherLifetime = Lifetime<PublisherSubject>

/** So long an append may take (`Appender`), and a machine that is busy with other tests. */
const ANSWERED_MS = 11_000
const MANY = 200

/** A publisher has no lifetime of its own: soon after its last use nothing is left. */
export const publishers: Readonly<Record<string, PublisherLifetime>> = {
  'publishes, one after the other and many at once': async ({ subject, caller }) => {
    const { signal } = caller()
    await publish(subject, { signal })
    await Promise.all(Array.from({ length: MANY }, () => publish(subject, { signal })))
  },
  'a publish that was refused': async ({ subject, caller }) => {
    const { signal } = caller()
    const refused = publisher({ to: subject.to, client: 'test' }).publish({ foreignId: '\ud800' }, { signal })
    expect(codeOf(await errorOf(refused))).toBe('EVENT_UNENCODABLE')
  },
  'a publish that was aborted before, or at any moment': async ({ subject, caller }) => {
    for (const moment of moments) {
      const { signal, abort } = bound(caller())
      const publishing = [1, 2, 3].map(() => publish(subject, { signal }).catch(() => {}))
      await moment()
      abort()
      await Promise.all(publishing)
      expect(await errorOf(publish(subject, { signal }))).toBe(signal.reason)
    }
  },
  'connections that are cut, and a publish after that': async ({ subject, outside }) => {
    await publish(subject)
    await outside(() => subject.cut())
    await publish(subject).catch(() => {}) // the end may not have been heard of yet
    await publish(subject)
  },
  'a server that is frozen after a use': async (stage) => {
    await publish(stage.subject)
    await whileFrozen(stage, async () => {})
  },
  'a server that is frozen, noticed by many who publish at once, and later': async (stage) => {
    await publish(stage.subject)
    await whileFrozen(stage, async () => {
      const failing = Array.from({ length: MANY }, () => errorOf(publish(stage.subject), ANSWERED_MS))
      await pause(100)
      failing.push(errorOf(publish(stage.subject), ANSWERED_MS))
      const codes = (await Promise.all(failing)).map(codeOf)
      // Those of which nothing was sent are known not to be there.
      for (const code of codes) expect(code).toMatch(/^(OUTCOME_UNKNOWN|[A-Z]+_CONNECTION)$/)
      expect(codes).toContain('OUTCOME_UNKNOWN')
    })
  },
  'a server that is down': (stage) =>
    whileDown(stage, async () => {
      const failing = Array.from({ length: MANY }, () => errorOf(publish(stage.subject), ANSWERED_MS))
      for (const error of await Promise.all(failing)) expect(codeOf(error)).not.toBe('OUTCOME_UNKNOWN')
    }),
}

/** What connects to a server that accepts connections, and says nothing. */
export const frozenPublishers: Readonly<Record<string, PublisherLifetime>> = {
  'a publish while the server is frozen, and an abort': (stage) =>
    whileFrozen(stage, async () => {
      const { signal, abort } = bound(stage.caller())
      const failing = errorOf(publish(stage.subject, { signal }))
      await pause(100)
      abort()
      expect(await failing).toBe(signal.reason)
    }),
}

function publish({ to }: PublisherSubject, options: PublishOptions = {}): Promise<Appended> {
  return publisher({ to, client: 'lifetimes' }).publish({ foreignId: 'a' }, options)
}

function bound(caller: AbortController): { signal: AbortSignal; abort: () => void } {
  return { signal: caller.signal, abort: () => caller.abort(new Error('no more')) }
}
