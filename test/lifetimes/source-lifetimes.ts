import { setTimeout as pause } from 'node:timers/promises'
import { expect } from 'vitest'
import { codeOf } from '../../src/core/errors.ts'
import { memoryCursors } from '../../src/core/memory-cursors.ts'
import { run } from '../../src/core/run.ts'
import type { EventStream, Source, StreamOptions } from '../../src/core/stream.ts'
import type { SourceSubject } from '../../src/testing/source/source-subject.ts'
import { numbered } from '../tools/numbered.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { moments } from './moments.ts'
import type { Lifetime, Stage } from './stage.ts'

type Faults = 'trim' | 'recreate' | 'corrupt' | 'cut' | 'freeze'
type Subject = SourceSubject & Required<Pick<SourceSubject, Faults>>
type SourceLifetime = Lifetime<Subject>

/** A dead or frozen peer is noticed in under 5 s (rule 3). */
const NOTICED_MS = 5000
/** So that a read has come to wait for what is not there yet. */
const SETTLED_MS = 300

/** Every state that a stream can be closed in, or end by itself. */
export const streams: Readonly<Record<string, SourceLifetime>> = {
  'a stream that was never read': async (stage) => {
    await stage.close(await open(stage))
  },
  'a stream whose read is pending at the head, early or late': async (stage) => {
    for (const moment of [...moments, () => pause(SETTLED_MS)]) {
      const stream = await open(stage)
      const pending = stream[Symbol.asyncIterator]().next()
      await moment()
      await stage.close(stream)
      expect((await pending).done).toBe(true)
    }
  },
  'a stream that was not read on after a batch': async (stage) => {
    await append(stage, 2)
    const stream = await open(stage)
    await reader(stream).batch()
    await stage.close(stream)
  },
  'a stream in the middle of a backlog, with and without a read': async (stage) => {
    await append(stage, 12)
    for (const reads of [0, 1]) {
      const stream = await open(stage)
      const iterator = stream[Symbol.asyncIterator]()
      await iterator.next()
      const pending = Array.from({ length: reads }, () => iterator.next())
      await stage.close(stream)
      await Promise.all(pending)
    }
  },
  'a stream at the head after events, behind which it waits': async (stage) => {
    await append(stage, 4)
    const stream = await open(stage)
    const reading = reader(stream)
    await reading.take(4)
    const pending = reading.rest()
    await pause(SETTLED_MS)
    await append(stage, 1)
    await pause(SETTLED_MS)
    await stage.close(stream)
    await pending
  },
  'a stream that ended by toHead, and that nobody closed': async (stage) => {
    await append(stage, 5)
    await reader(await open(stage, '', { toHead: true })).rest()
  },
  'a stream that ended by a DecodeError, and that nobody closed': async (stage) => {
    await append(stage, 1)
    await stage.outside(() => stage.subject.corrupt())
    expect(codeOf(await errorOf(reader(await open(stage)).rest()))).toBe('EVENT_UNDECODABLE')
  },
  'a stream that ended since it was trimmed under it, and that nobody closed': async (stage) => {
    await append(stage, 12)
    const reading = reader(await open(stage))
    await reading.batch()
    // What was fetched at once with the first batch still comes: so twice.
    for (let i = 0; i < 2; i++) {
      const last = (await append(stage, 3)).at(-1) as string
      await stage.outside(() => stage.subject.trim(last))
    }
    expect(codeOf(await errorOf(reading.rest()))).toBe('CURSOR_TRIMMED')
  },
  'a loop that was left by break': async (stage) => {
    await append(stage, 2)
    for await (const _ of await open(stage)) break
  },
  'two closes at once, and one more': async (stage) => {
    const stream = await open(stage)
    const pending = stream[Symbol.asyncIterator]().next()
    await pause(SETTLED_MS)
    await stage.close(stream, stream)
    await stage.close(stream)
    await pending
  },
  'an abort before the open': async (stage) => {
    const caller = stage.caller()
    caller.abort(new Error('no more'))
    expect(await errorOf(stage.subject.source.stream('', caller))).toBe(caller.signal.reason)
  },
  'an abort at any moment of the open': async (stage) => {
    for (const options of [{}, { fromHead: true }, { toHead: true }]) {
      for (const moment of moments) {
        const caller = stage.caller()
        const opening = stage.subject.source.stream('', { ...options, signal: caller.signal }).catch(() => {})
        await moment()
        caller.abort(new Error('no more'))
        await opening
      }
    }
  },
  'an abort at any moment of a read, and no close': async (stage) => {
    for (const moment of [...moments, () => pause(SETTLED_MS)]) {
      const caller = stage.caller()
      const stream = await stage.subject.source.stream('', caller)
      const failing = errorOf(stream[Symbol.asyncIterator]().next())
      await moment()
      caller.abort(new Error('no more'))
      expect(await failing).toBe(caller.signal.reason)
    }
  },
  'an abort of a stream that was never read, and a close at the same time': async (stage) => {
    const caller = stage.caller()
    const stream = await stage.subject.source.stream('', caller)
    caller.abort(new Error('no more'))
    await stage.close(stream)
  },
  'a run that is aborted': async (stage) => {
    await append(stage, 5)
    const caller = stage.caller()
    const { stream } = stage.subject.source
    let left = 5
    const handle = (): void => {
      if (--left === 0) setTimeout(() => caller.abort(), SETTLED_MS)
    }
    await run({ stream, cursors: memoryCursors(), consumer: { name: 'reader', handle } }, caller)
  },
  'an open that is refused: malformed, trimmed, ahead': async (stage) => {
    const ids = await append(stage, 5)
    const [first, last] = [ids[0] as string, ids.at(-1) as string]
    const refusal = async (after: string): Promise<unknown> => codeOf(await errorOf(open(stage, after)))
    expect(await refusal('abc')).toBe('CURSOR_INVALID')
    await stage.outside(() => stage.subject.trim(last))
    expect(await refusal(first)).toBe('CURSOR_TRIMMED')
    await stage.outside(() => stage.subject.recreate())
    expect(await refusal(last)).toBe('CURSOR_AHEAD')
  },
  'a frozen server, and a close': async (stage) => {
    const opened = await Promise.all([open(stage), open(stage)])
    const pending = opened[0][Symbol.asyncIterator]().next()
    await pause(SETTLED_MS)
    await whileFrozen(stage, () => stage.close(...opened))
    await pending
  },
  'a frozen server, and an abort': async (stage) => {
    const caller = stage.caller()
    const stream = await stage.subject.source.stream('', caller)
    const failing = errorOf(stream[Symbol.asyncIterator]().next())
    await pause(SETTLED_MS)
    await whileFrozen(stage, async () => {
      caller.abort(new Error('no more'))
      await failing
    })
  },
  'a killed server: streams that are closed, one that notices, one that is opened, and questions': async (stage) => {
    const opened = await Promise.all([open(stage), open(stage)])
    const pending = opened[0]
      [Symbol.asyncIterator]()
      .next()
      .catch(() => {})
    const failing = errorOf(reader(await open(stage), '', NOTICED_MS).rest())
    await pause(SETTLED_MS)
    await whileDown(stage, async () => {
      await stage.close(...opened)
      await pending
      await failing
      await errorOf(open(stage))
      await Promise.all(asked(stage.subject.source).map((ask) => errorOf(ask(stage.caller().signal))))
    })
  },
}

/** A stream that cannot tell the server that it has ended. */
export const severed: Readonly<Record<string, SourceLifetime>> = {
  'connections that are cut, and a frozen server, noticed by the reader or not': async (stage) => {
    const failing = errorOf(reader(await open(stage), '', NOTICED_MS).rest())
    const unread = await open(stage)
    await pause(SETTLED_MS)
    await stage.outside(() => stage.subject.cut())
    await failing
    await pause(SETTLED_MS)
    await stage.close(unread)
    const frozen = errorOf(reader(await open(stage), '', NOTICED_MS).rest())
    await pause(SETTLED_MS)
    await whileFrozen(stage, () => frozen)
  },
}

/** Questions to a source, which have no lifetime of their own. */
export const questions: Readonly<Record<string, SourceLifetime>> = {
  'questions that were answered': async (stage) => {
    await append(stage, 5)
    for (const ask of asked(stage.subject.source)) await ask(stage.caller().signal)
  },
  'questions that were aborted before': async (stage) => {
    const caller = stage.caller()
    caller.abort(new Error('no more'))
    for (const ask of asked(stage.subject.source)) expect(await errorOf(ask(caller.signal))).toBe(caller.signal.reason)
  },
  'questions that are aborted at any moment': async (stage) => {
    await append(stage, 5)
    for (const moment of moments) {
      const caller = stage.caller()
      const answers = asked(stage.subject.source).map((ask) => ask(caller.signal).catch(() => {}))
      await moment()
      caller.abort(new Error('no more'))
      await Promise.all(answers)
    }
  },
  'a question that is refused': async (stage) => {
    await errorOf(stage.subject.source.backlog?.('abc') ?? Promise.reject(new Error('there is no backlog')))
  },
}

/** What connects to a server that accepts connections, and says nothing. */
export const frozenOpens: Readonly<Record<string, SourceLifetime>> = {
  'an open of a frozen server': (stage) => whileFrozen(stage, () => errorOf(open(stage))),
  'an open of a frozen server, and an abort': (stage) =>
    whileFrozen(stage, async () => {
      const caller = stage.caller()
      const failing = errorOf(stage.subject.source.stream('', caller))
      await pause(SETTLED_MS)
      caller.abort(new Error('no more'))
      await failing
    }),
  'questions to a frozen server': (stage) =>
    whileFrozen(stage, async () => {
      await Promise.all(asked(stage.subject.source).map((ask) => errorOf(ask(stage.caller().signal))))
    }),
  'questions to a frozen server, and an abort': (stage) =>
    whileFrozen(stage, async () => {
      const caller = stage.caller()
      const answers = asked(stage.subject.source).map((ask) => errorOf(ask(caller.signal)))
      await pause(SETTLED_MS)
      caller.abort(new Error('no more'))
      await Promise.all(answers)
    }),
}

function asked(source: Source): ((signal: AbortSignal) => Promise<unknown>)[] {
  return [
    async (signal) => source.head?.({ signal }),
    async (signal) => source.backlog?.('', { signal }),
    async (signal) => source.at?.(Date.now() - 60_000, { signal }),
  ]
}

function open(stage: Stage<Subject>, after = '', options: StreamOptions = {}): Promise<EventStream> {
  return stage.subject.source.stream(after, { ...options, signal: stage.caller().signal })
}

async function append(stage: Stage<Subject>, count: number): Promise<readonly string[]> {
  return (await stage.outside(() => stage.subject.append(numbered(count)))) ?? []
}

/** Nothing may be left of `work` while the server is still frozen. */
export async function whileFrozen(
  stage: Stage<{ freeze(): Promise<() => Promise<void> | void> }>,
  work: () => Promise<unknown>,
): Promise<void> {
  const thaw = await stage.outside(() => stage.subject.freeze())
  try {
    await work()
    await stage.isQuiet()
  } finally {
    await stage.outside(async () => await thaw())
  }
}

/** Nothing may be left of `work` while the server is still down. */
export async function whileDown(stage: Stage<unknown>, work: () => Promise<unknown>): Promise<void> {
  await stage.outside(() => stage.server.kill())
  try {
    await work()
    await stage.isQuiet()
  } finally {
    await stage.outside(() => stage.server.start())
  }
}
