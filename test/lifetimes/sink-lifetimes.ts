import { setTimeout as pause } from 'node:timers/promises'
import { expect } from 'vitest'
import { codeOf } from '../../src/core/errors.ts'
import type { Event } from '../../src/core/event.ts'
import type { Mark, SinkWriter } from '../../src/core/sink.ts'
import type { SinkSubject } from '../../src/testing/sink/sink-subject.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, within } from '../tools/reader.ts'
import { moments } from './moments.ts'
import { whileDown, whileFrozen } from './source-lifetimes.ts'
import type { Lifetime, Stage } from './stage.ts'

type Faults = 'refuse' | 'cut' | 'freeze' | 'loseReplies'
type Subject = SinkSubject & Required<Pick<SinkSubject, Faults>>
type SinkLifetime = Lifetime<Subject>

const NOTICED_MS = 5000
const route = { route: 'lifetimes', source: 'source' } as const

/** Every state that a writer can be closed in, or that an open can end in. */
export const writers: Readonly<Record<string, SinkLifetime>> = {
  'a writer that was never used': async (stage) => {
    await stage.close(await open(stage))
  },
  'a writer that has appended, and was asked whether it is still the one': async (stage) => {
    const writer = await open(stage)
    await append(writer, 1, 5)
    await writer.append([], '5')
    await stage.close(writer)
  },
  'two closes at once, and one more': async (stage) => {
    const writer = await open(stage)
    await stage.close(writer, writer)
    await stage.close(writer)
  },
  'a close at any moment of an append': async (stage) => {
    let from = 1
    for (const moment of moments) {
      const writer = await open(stage)
      if (writer.resumeFrom !== '') from = Number(writer.resumeFrom) + 1
      const appending = append(writer, from, 50).catch(() => {})
      await moment()
      await stage.close(writer)
      await within(appending, NOTICED_MS, 'the end of the append')
    }
  },
  'an append that the sink refuses, and a close': async (stage) => {
    const writer = await open(stage)
    const [event] = eventsFrom(1, 1) as [Event]
    expect(codeOf(await errorOf(writer.append([{ ...event, foreignId: '\ud800' }], '1')))).toBe('EVENT_UNENCODABLE')
    await stage.close(writer)
  },
  'an append that the server refuses, and a close': async (stage) => {
    const writer = await open(stage)
    await append(writer, 1, 2)
    const permit = await stage.outside(() => stage.subject.refuse())
    await errorOf(append(writer, 3, 2))
    await stage.outside(async () => await permit())
    await stage.close(writer)
  },
  'a writer that was fenced, and the one that fenced it': async (stage) => {
    const old = await open(stage)
    await append(old, 1, 2)
    const newer = await open(stage)
    await append(newer, 3, 2)
    const failed = await append(old, 3, 2).then(
      () => false,
      () => true,
    )
    expect(failed).toBe((stage.subject.delivery ?? 'effectively-once') === 'effectively-once')
    await stage.close(old, newer)
  },
  'an abort before the open': async (stage) => {
    const caller = stage.caller()
    caller.abort(new Error('no more'))
    expect(await errorOf(stage.subject.sink().open({ ...route, signal: caller.signal }))).toBe(caller.signal.reason)
  },
  'an abort at any moment of the open': async (stage) => {
    for (const moment of [...moments, ...moments]) {
      const caller = stage.caller()
      const opening = stage.subject.sink().open({ ...route, signal: caller.signal })
      await moment()
      caller.abort(new Error('no more'))
      await opening.then(
        (writer) => stage.close(writer),
        () => {},
      )
    }
  },
  'an open that is refused: its saved mark is none': async (stage) => {
    await errorOf(stage.subject.sink().open({ ...route, saved: { cursor: '1', mark: 'none' } }))
  },
  'an audit': async (stage) => {
    await stage.subject.sink().audit?.(stage.caller())
  },
  'connections that are cut, noticed by an append, and a close': async (stage) => {
    const writer = await open(stage)
    await append(writer, 1, 2)
    await stage.outside(() => stage.subject.cut())
    await errorOf(append(writer, 3, 2), NOTICED_MS)
    await stage.close(writer)
  },
  'connections that are cut under a writer that is not used, and is closed': async (stage) => {
    const writer = await open(stage)
    await stage.outside(() => stage.subject.cut())
    await pause(100)
    await stage.close(writer)
  },
  'an append whose reply is lost, and a close': async (stage) => {
    const writer = await open(stage)
    await append(writer, 1, 2)
    const restore = await stage.outside(() => stage.subject.loseReplies())
    const appending = append(writer, 3, 2).catch(() => {})
    await pause(100)
    await stage.close(writer)
    await within(appending, NOTICED_MS, 'the end of the append')
    await stage.isQuiet()
    await stage.outside(async () => await restore())
  },
  'a frozen server, an append, and a close': async (stage) => {
    const writer = await open(stage)
    await append(writer, 1, 2)
    await whileFrozen(stage, async () => {
      const appending = append(writer, 3, 2).catch(() => {})
      await pause(100)
      await stage.close(writer)
      await within(appending, NOTICED_MS, 'the end of the append')
    })
  },
  'a frozen server, noticed by an append, and a close': async (stage) => {
    const writer = await open(stage)
    await append(writer, 1, 2)
    await whileFrozen(stage, async () => {
      await errorOf(append(writer, 3, 2), NOTICED_MS)
      await stage.close(writer)
    })
  },
  'a killed server: an append and a close, and one that is opened': async (stage) => {
    const writer = await open(stage)
    await append(writer, 1, 2)
    await whileDown(stage, async () => {
      await errorOf(append(writer, 3, 2), NOTICED_MS)
      await stage.close(writer)
      await errorOf(open(stage))
    })
  },
}

/** What connects to a server that accepts connections, and says nothing. */
export const frozenWriters: Readonly<Record<string, SinkLifetime>> = {
  'an open of a frozen server': (stage) => whileFrozen(stage, () => errorOf(open(stage))),
  'an open of a frozen server, and an abort': (stage) =>
    whileFrozen(stage, async () => {
      const caller = stage.caller()
      const failing = errorOf(stage.subject.sink().open({ ...route, signal: caller.signal }))
      await pause(100)
      caller.abort(new Error('no more'))
      await failing
    }),
}

function open(stage: Stage<Subject>): Promise<SinkWriter> {
  return stage.subject.sink().open({ ...route, signal: stage.caller().signal })
}

function append(writer: SinkWriter, from: number, count: number): Promise<Mark> {
  return writer.append(eventsFrom(from, count), String(from + count - 1))
}

function eventsFrom(from: number, count: number): Event[] {
  const fields = { timestamp: Date.now(), metadata: null, headers: {} }
  return numbered(count).map((event, i) => ({ ...fields, ...event, id: String(from + i) }))
}
