import { codeOf } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { EventStream } from '../../core/stream.ts'
import { Violation } from '../conformance/violation.ts'
import { type Outcome, outcomeOf, settlesWithin } from '../conformance/within.ts'
import { countOf, errorInWords } from './in-words.ts'
import type { CloseState } from './source-command.ts'
import { dispose, drain, type SourcePlay } from './source-play.ts'
import type { SourceSubject } from './source-subject.ts'

/** Opens with a signal that aborts before, during or right after. */
export async function openAborted(world: SourcePlay, turns: number): Promise<void> {
  const { subject, steps, patience } = world
  const { limitMs } = patience
  const when = turns === 0 ? 'has aborted' : `aborts ${countOf(turns, 'turn')} later`
  const before = await subject.connections?.()
  steps.step(`open a stream at "" with a signal that ${when}`)
  const controller = new AbortController()
  const reason = new Error('the schedule aborts it')
  if (turns === 0) controller.abort(reason)
  const opening = subject.source.stream('', { signal: controller.signal })
  opening.catch(() => {}) // looked at below
  for (let i = 0; i < turns; i++) await Promise.resolve()
  controller.abort(reason)
  const outcome = await outcomeOf(opening, limitMs)
  if (outcome.is === 'nothing')
    throw new Violation('S10', `an open whose signal ${when} has not ended within ${limitMs} ms`)
  if (outcome.is === 'error') {
    if (outcome.error === reason) {
      steps.result('rejects with the reason')
      return noneLeft(world, before, 'the abort of an open')
    }
    throw new Violation(
      'S10',
      `an open whose signal ${when} rejected with ${errorInWords(outcome.error)}; expected the reason itself`,
    )
  }
  if (turns === 0) {
    await dispose(outcome.value, limitMs)
    throw new Violation(
      'S10',
      'an open whose signal has aborted gave a stream; expected that it rejects with the reason',
    )
  }
  const read = await outcomeOf(outcome.value[Symbol.asyncIterator]().next(), limitMs)
  await dispose(outcome.value, limitMs)
  if (read.is !== 'error' || read.error !== reason)
    throw new Violation(
      'S10',
      `a stream whose signal ${when} ${read.is === 'nothing' ? 'waits' : 'goes on'}; expected that its first read rejects with the reason`,
    )
  steps.result('the first read rejects with the reason')
  await noneLeft(world, before, 'the abort of an open')
}

/** Cursors of no log at all. */
const malformed = ['no cursor', '\u0000', '-7.5', '1 2', 'undefined', 'ключ', '{}']

/** What is no cursor of a log. */
export function malformedAt({ malformed: own = [] }: SourceSubject, index: number): Cursor {
  const all = [...malformed, ...own]
  return all[index % all.length] as Cursor
}

/** Opens at what is no cursor. */
export async function openMalformed(world: SourcePlay, which: number): Promise<void> {
  const { subject, steps, patience } = world
  const cursor = malformedAt(subject, which)
  const told = JSON.stringify(cursor)
  const before = await subject.connections?.()
  steps.step(`open a stream after ${told}`)
  const outcome = await outcomeOf(subject.source.stream(cursor, {}), patience.limitMs)
  await disposeOf(outcome, patience.limitMs)
  const found = refusalOf(outcome, patience.limitMs)
  steps.result(found)
  if (found !== 'CURSOR_INVALID')
    throw new Violation('S11', `${told} is no cursor of this log: expected CURSOR_INVALID, found: ${found}`)
  const named = (outcome as { error: { cursor?: unknown } }).error.cursor
  if (named !== cursor)
    throw new Violation(
      'S11',
      `the CURSOR_INVALID for ${told} names the cursor ${JSON.stringify(named)}; expected the one that was given`,
    )
  await noneLeft(world, before, 'an open that was refused')
}

/** Opens with options that nobody can honour. */
export async function openWrongly(
  world: SourcePlay,
  what: 'cursor and fromHead' | 'types that are no integers',
): Promise<void> {
  const { subject, model, steps, patience } = world
  const seen = model.cursors.findLast(({ cursor, generation }) => cursor !== '' && generation === model.generation)
  if (what === 'cursor and fromHead' && seen === undefined) return
  const [cursor, options] =
    what === 'cursor and fromHead' ? [seen?.cursor ?? '', { fromHead: true }] : ['', { types: [1.5] }]
  steps.step(`open a stream after ${JSON.stringify(cursor)} with ${JSON.stringify(options)}`)
  const outcome = await outcomeOf(subject.source.stream(cursor, options), patience.limitMs)
  await disposeOf(outcome, patience.limitMs)
  const found = refusalOf(outcome, patience.limitMs)
  steps.result(found)
  if (found !== 'OPTION_INVALID')
    throw new Violation(
      'S15',
      `${JSON.stringify(options)} after ${JSON.stringify(cursor)} cannot be honoured: expected OPTION_INVALID, found: ${found}`,
    )
}

/** Gets a stream into a state and closes it: nothing is left behind. */
export async function openAndClose(world: SourcePlay, state: CloseState): Promise<void> {
  const { subject, steps, patience, model } = world
  const before = await subject.connections?.()
  const reader = await world.open(model.cursors[0]!, { toHead: state === 'ended' || undefined })
  if (reader === undefined) return
  if (state !== 'unread') await drain(reader, steps)
  if (state === 'left' && reader.isOpen) {
    steps.step('leave the loop over the stream')
    await reader.leave()
    return noneLeft(world, before, 'the loop over a stream was left')
  }
  steps.step(`close the stream, ${state}`)
  const pending = state === 'waiting' && reader.isOpen ? reader.begin() : undefined
  if (pending !== undefined) await world.settle()
  await reader.close(3)
  if (pending !== undefined && !(await settlesWithin(pending, patience.limitMs)))
    throw new Violation(
      'Y1',
      `a read was pending when the stream was closed, and has not ended within ${patience.limitMs} ms`,
    )
  await reader.close()
  if (state === 'ended') {
    let thrown = false
    try {
      reader.start.stream[Symbol.asyncIterator]()
    } catch {
      thrown = true
    }
    if (!thrown) throw new Violation('Y1', 'a stream was iterated a second time; expected that this throws')
  }
  await noneLeft(world, before, `the close of a stream, ${state}`)
}

/** As many connections are open as before, within the second of rule 6. */
async function noneLeft(
  { subject, steps, patience }: SourcePlay,
  before: number | undefined,
  after: string,
): Promise<void> {
  if (before === undefined) return
  let left = before
  for (const deadline = performance.now() + Math.min(1000, patience.limitMs); ; ) {
    left = (await subject.connections?.()) ?? before
    if (left <= before) return
    if (performance.now() > deadline) break
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  steps.result(countOf(left, 'connection'))
  throw new Violation(
    'Y1',
    `${countOf(left, 'connection')} ${left === 1 ? 'is' : 'are'} open after ${after}; there ${before === 1 ? 'was' : 'were'} ${before} before it was opened`,
  )
}

async function disposeOf(outcome: Outcome<EventStream>, limitMs: number): Promise<void> {
  if (outcome.is === 'value') await dispose(outcome.value, limitMs)
}

function refusalOf(outcome: Outcome<EventStream>, limitMs: number): string {
  if (outcome.is === 'value') return 'it opens'
  if (outcome.is === 'nothing') return `it has not ended within ${limitMs} ms`
  return codeOf(outcome.error) ?? errorInWords(outcome.error)
}
