import type { Cursor } from '../../core/event.ts'
import { Violation } from '../conformance/violation.ts'
import { outcomeOf } from '../conformance/within.ts'
import { countOf, errorInWords } from './in-words.ts'
import type { ModelReader } from './model-reader.ts'
import { dispose, drain, type SourcePlay } from './source-play.ts'

/** Waits at the head of a stream while events are appended, which have to come. */
export async function awaitEvents(
  world: SourcePlay,
  reader: ModelReader,
  { count, turns }: { readonly count: number; readonly turns?: number | undefined },
): Promise<void> {
  const { start, disturbed } = reader
  const [type] = start.types ?? [1]
  if (type === undefined) return // nothing is to come, ever
  if (reader.due() > 0) await drain(reader, world.steps)
  if (!reader.isOpen || start.end !== undefined || disturbed.size > 0) return
  world.steps.step(
    `begin a read of the stream opened ${start.opened}${turns === undefined ? '' : `; ${countOf(turns, 'turn')} later`}`,
  )
  const waiting = reader.begin()
  if (turns === undefined) await world.settle()
  else for (let i = 0; i < turns; i++) await Promise.resolve()
  await world.append(count, type)
  world.steps.step('see what came')
  world.steps.result(reader.take(await outcomeOf(waiting, world.patience.limitMs)))
  await drain(reader, world.steps)
}

/** Appends what a stream at its head does not ask for: the position has to move over it, or it falls off the log one day. */
export async function passOver(world: SourcePlay, reader: ModelReader, count: number): Promise<void> {
  const { steps, patience, model } = world
  const { types, end, opened } = reader.start
  const other = [1, 2, 3].find((type) => !types?.includes(type))
  await drain(reader, steps)
  if (types === undefined || other === undefined || end !== undefined) return
  if (!reader.isOpen || reader.disturbed.size > 0 || !(await world.append(count, other))) return
  const position = (): Promise<number> => passedBy(world, reader.cursor)
  let left = model.entries.length - (await position())
  for (let idle = 0; left > 0; ) {
    steps.step(`read on in the stream opened ${opened}`)
    const outcome = await outcomeOf(reader.begin(), patience.limitMs)
    if (outcome.is === 'nothing')
      throw new Violation(
        'S17',
        `the position of the stream opened ${opened} stays at ${JSON.stringify(reader.cursor)}, although only events of other types follow: expected an empty batch with a later cursor within ${patience.limitMs} ms`,
      )
    steps.result(reader.take(outcome))
    if (!reader.isOpen) return
    const still = model.entries.length - (await position())
    idle = still < left ? 0 : idle + 1 // a batch may pass over what is not an event
    if (idle > MAX_IDLE)
      throw new Violation(
        'S17',
        `the stream opened ${opened} gave ${idle} empty batches, the last with the cursor ${JSON.stringify(reader.cursor)}, which is before ${countOf(still, 'event')} of other types; expected a position after them`,
      )
    left = still
  }
}

/** More batches in a row that pass over no event than a log has other records in one place. */
const MAX_IDLE = 3

/** How many entries are before a cursor: what a stream of all types gives after it is not. */
async function passedBy({ subject, model, patience }: SourcePlay, cursor: Cursor): Promise<number> {
  const { limitMs } = patience
  const opening = await outcomeOf(subject.source.stream(cursor, { toHead: true }), limitMs)
  if (opening.is !== 'value') return model.entries.length // this is not the place to find out
  let count = 0
  const reading = (async () => {
    for await (const { events } of opening.value) count += events.length
  })()
  await outcomeOf(reading, limitMs)
  await dispose(opening.value, limitMs)
  return model.entries.length - count
}

/** Whether a promise has settled by now; costs no timer, of which there would be one in every schedule. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  let settled = false
  const done = (): void => {
    settled = true
  }
  promise.then(done, done)
  for (let i = 0; i < 4; i++) await Promise.resolve()
  return settled
}

/** An abort takes no answer of a server; this is five times what rule 6 allows, for machines that are busy. */
const ABORT_MS = 250

/** Aborts or closes a stream, while a read of it is pending where one can be. */
export async function stopReader(world: SourcePlay, reader: ModelReader, how: 'abort' | 'close'): Promise<void> {
  const { limitMs } = world.patience
  const { opened, end, controller } = reader.start
  const canWait = !reader.isReadable() && end === undefined && reader.disturbed.size === 0
  const waits = canWait ? ', while a read of it waits' : ''
  world.steps.step(`${how} the stream opened ${opened}${waits}`)
  let pending = canWait ? reader.begin() : undefined
  if (pending !== undefined) {
    await world.settle()
    // A read may bring an empty batch, which moves the position on; then it waits in the next one.
    for (let empty = 0; empty < 10; empty++) {
      if (!(await isSettled(pending))) break
      reader.take(await outcomeOf(pending, limitMs))
      if (!reader.isOpen) return
      pending = reader.begin()
      await world.settle()
    }
  }
  if (how === 'close') {
    const [ended] = await Promise.all([pending && outcomeOf(pending, limitMs), reader.close(3)])
    await reader.close()
    if (ended?.is === 'nothing')
      throw new Violation(
        'Y1',
        `a read was pending when the stream opened ${opened} was closed, and has not ended within ${limitMs} ms`,
      )
    if (ended?.is === 'value' && !ended.value.done && ended.value.value.events.length > 0)
      throw new Violation(
        'Y1',
        `a read that was pending when the stream opened ${opened} was closed gave events, although none were appended`,
      )
    return
  }
  const reason = new Error('the schedule aborts it')
  controller.abort(reason)
  const reads = pending === undefined ? ['the next read'] : ['the read that was pending', 'the next read']
  const withinMs = Math.min(limitMs, ABORT_MS)
  for (const what of reads) {
    const outcome = await outcomeOf(pending ?? reader.begin(), withinMs)
    pending = undefined
    const after = `after the abort of the stream opened ${opened}, ${what}`
    if (outcome.is === 'nothing') throw new Violation('S10', `${after} has not ended within ${withinMs} ms`)
    if (outcome.is === 'value') {
      const gave = outcome.value.done
        ? 'ended as if there were no more'
        : `gave ${countOf(outcome.value.value.events.length, 'event')}`
      throw new Violation('S10', `${after} ${gave}; expected that it rejects with the reason`)
    }
    if (outcome.error !== reason && reader.disturbed.size === 0)
      throw new Violation('S10', `${after} rejected with ${errorInWords(outcome.error)}; expected the reason itself`)
  }
  await reader.close(2)
}
