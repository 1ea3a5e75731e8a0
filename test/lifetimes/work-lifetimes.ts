import { setTimeout as pause } from 'node:timers/promises'
import { expect } from 'vitest'
import type { WorkConsumer, WorkOptions } from '../../src/adapters/jetstream/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import type { ServerFaults } from '../subjects/adapter-subjects.ts'
import { errorOf, within } from '../tools/reader.ts'
import { taker } from '../tools/taker.ts'
import { moments } from './moments.ts'
import { whileDown, whileFrozen } from './source-lifetimes.ts'
import type { Lifetime, Stage } from './stage.ts'

/** A stream that is worked on, and what can be done to the server. */
export interface WorkSubject extends Pick<ServerFaults['faults'], 'cut' | 'freeze'> {
  open(options: Partial<WorkOptions>): Promise<WorkConsumer>
  append(count: number): Promise<void>
  /** Appends what cannot be decoded. */
  corrupt(): Promise<void>
  connections?(): Promise<number>
  [Symbol.asyncDispose]?(): void | PromiseLike<void>
}

type WorkLifetime = Lifetime<WorkSubject>

const NOTICED_MS = 5000
const SETTLED_MS = 300
/** After which the server drops what it was not told the end of. */
const SEVERED = { inactiveMs: 1000 }

/** Every state that a consumer of work can be closed in, or end by itself. */
export const works: Readonly<Record<string, WorkLifetime>> = {
  'a consumer that was never read': async (stage) => {
    await stage.close(await open(stage))
  },
  'a consumer whose read is pending, early or late': async (stage) => {
    for (const moment of [...moments, () => pause(SETTLED_MS)]) {
      const consumer = await open(stage)
      const pending = consumer[Symbol.asyncIterator]().next()
      await moment()
      await stage.close(consumer)
      expect((await pending).done).toBe(true)
    }
  },
  'messages that are held, taken, settled in every way, and given back': async (stage) => {
    await stage.outside(() => stage.subject.append(12))
    const consumer = await open(stage, { autoPing: false, deadLetter: () => {} })
    const take = taker(consumer)
    await (await take()).ack()
    await (await take()).ack({ double: true })
    await (await take()).reject({ delayMs: 60_000 })
    await (await take()).reject({ forGood: true })
    await (await take()).ping()
    await take()
    await stage.close(consumer)
  },
  'two closes at once, one that drains, and one more': async (stage) => {
    await stage.outside(() => stage.subject.append(2))
    const consumer = await open(stage)
    const work = await taker(consumer)()
    const draining = consumer.close({ drainMs: 60_000 })
    const closing = stage.close(consumer, consumer)
    await pause(20)
    await work.ack()
    await Promise.all([draining, closing])
    await stage.close(consumer)
  },
  'a consumer with a name that is unsubscribed': async (stage) => {
    const consumer = await open(stage, { name: 'named' })
    await consumer.unsubscribe()
  },
  'a loop that was left by break, and one that its signal ends': async (stage) => {
    await stage.outside(() => stage.subject.append(2))
    for await (const _ of await open(stage)) break
    const caller = stage.caller()
    for await (const _ of await stage.subject.open({ signal: caller.signal })) caller.abort(new Error('no more'))
  },
  'an abort before the open, and at any moment of it': async (stage) => {
    for (const moment of moments) {
      const caller = stage.caller()
      const opening = stage.subject.open({ signal: caller.signal }).catch(() => {})
      await moment()
      caller.abort(new Error('no more'))
      await opening
      expect(await errorOf(stage.subject.open({ signal: caller.signal }))).toBe(caller.signal.reason)
    }
  },
  'an abort of a consumer that was never read, and nobody closed': async (stage) => {
    const caller = stage.caller()
    await stage.subject.open({ signal: caller.signal })
    caller.abort(new Error('no more'))
  },
  'a consumer that ended by what it cannot decode, and a close': async (stage) => {
    await stage.outside(() => stage.subject.corrupt())
    const consumer = await open(stage)
    expect(codeOf(await errorOf(taker(consumer)()))).toBe('EVENT_UNDECODABLE')
    await stage.close(consumer)
  },
  'an open that is refused': async (stage) => {
    expect(codeOf(await errorOf(open(stage, { from: { sequence: 0 } })))).toBe('OPTION_INVALID')
  },
}

/** What cannot tell the server that it has ended. */
export const severedWorks: Readonly<Record<string, WorkLifetime>> = {
  'connections that are cut, noticed by the reader': async (stage) => {
    await stage.outside(() => stage.subject.append(1))
    const consumer = await open(stage, SEVERED)
    const take = taker(consumer)
    await take()
    const failing = errorOf(take(), NOTICED_MS)
    await pause(SETTLED_MS)
    await stage.outside(() => stage.subject.cut())
    await failing
    await stage.close(consumer)
  },
  'a frozen server, and a close before it is noticed, and after': async (stage) => {
    const [early, late] = [await open(stage, SEVERED), await open(stage, SEVERED)]
    const failing = errorOf(taker(late)(), NOTICED_MS)
    await pause(SETTLED_MS)
    await whileFrozen(stage, async () => {
      await stage.close(early)
      await failing
      await stage.close(late)
    })
  },
  'a killed server: a consumer that notices, and one that is opened': async (stage) => {
    const consumer = await open(stage, SEVERED)
    const failing = errorOf(taker(consumer)(), NOTICED_MS)
    await pause(SETTLED_MS)
    await whileDown(stage, async () => {
      await failing
      await stage.close(consumer)
      await errorOf(open(stage, SEVERED))
    })
  },
}

/** What connects to a server that accepts connections, and says nothing. */
export const frozenWorks: Readonly<Record<string, WorkLifetime>> = {
  'an open of a frozen server, and one that is aborted': (stage) =>
    whileFrozen(stage, async () => {
      const caller = stage.caller()
      const failing = [errorOf(open(stage)), errorOf(stage.subject.open({ signal: caller.signal }))]
      await pause(SETTLED_MS)
      caller.abort(new Error('no more'))
      await within(Promise.all(failing), NOTICED_MS, 'the ends of the opens')
    }),
}

function open(stage: Stage<WorkSubject>, options: Partial<WorkOptions> = {}): Promise<WorkConsumer> {
  return stage.subject.open({ ...options, signal: stage.caller().signal })
}
