import { setImmediate as turn } from 'node:timers/promises'
import { codeOf } from '../../core/errors.ts'
import type { SinkWriter } from '../../core/sink.ts'
import { Violation } from '../conformance/violation.ts'
import type { Outcome } from '../conformance/within.ts'
import { checkResumption } from './check-resumption.ts'
import type { SinkCommand } from './sink-command.ts'
import type { SinkStage } from './sink-faults.ts'
import { cursorOf, grow, inWords, missingUpTo, type Part, partAfter, positionOf, ROUTE, SOURCE } from './sink-model.ts'
import { errorInWords } from './sink-pump.ts'

/** The newest writer appends while another process opens, which then appends as well. */
export async function takeOver(
  stage: SinkStage,
  { count, turns }: Extract<SinkCommand, { do: 'takeOver' }>,
): Promise<void> {
  const { model, pump, steps } = stage
  const older = await pump.pick(0)
  if (older === undefined) return
  const part = stage.next(older, count)
  const begun = part.positions.filter((position) => !model.there.has(position) && !model.unknown.has(position))
  for (const position of begun) model.unknown.add(position)
  steps.step(`${older.name} appends ${inWords(part.positions)}, ${turns} turns after:`)
  const { disturbed, shaken } = older
  older.disturbed = true
  const appending = pump.settled('an append', async () => {
    for (let i = 0; i < turns; i++) await turn()
    return older.writer.append(part.events, cursorOf(part.to))
  })
  appending.catch(() => {}) // awaited below
  const tail = model.tail
  model.tail = 'unknown'
  model.overlapped = true
  const newer = await pump.open()
  if (newer !== undefined) newer.disturbed = true // the other one may have appended since it looked
  const outcome = await appending
  if (outcome.is === 'value') {
    steps.step(`the append of ${older.name} resolves`)
    pump.appended(older, part, outcome.value, false)
  } else {
    steps.step(`the append of ${older.name} rejects with ${errorInWords(outcome)}`)
    older.dead = true
    const code = outcome.is === 'error' ? codeOf(outcome.error) : undefined
    const isFenced = code === 'FENCED'
    // Another code: the broker was in the middle of the change, and the outcome is not known.
    if (code === undefined && !shaken && !disturbed && !model.shaken)
      throw new Violation(
        'B8',
        `expected the append to resolve, or to reject with FENCED or another code, but it rejects with ${errorInWords(outcome)}`,
      )
    if (isFenced) {
      for (const position of begun) model.unknown.delete(position)
      model.tail = tail
      model.clean = false
    } else pump.leftUnknown(older, part)
  }
  await pump.check({ extra: 'B8' })
  if (newer !== undefined && !newer.dead) await pump.append(newer, stage.next(newer, count), true)
}

/** What became of one of two that race. */
interface Ran {
  readonly words: string
  readonly appended: readonly number[]
  readonly resumedAt: number
  readonly unknown: boolean
}

/** Two processes open and append at the same time; both are then gone. */
export async function race(stage: SinkStage, count: number): Promise<void> {
  const { subject, model, pump, steps } = stage
  const from = positionOf(model, model.saved.at(-1)?.checkpoint.cursor ?? '') ?? 0
  for (let i = 0; i < count; i++) grow(model)
  const all = partAfter(model, 0, Number.POSITIVE_INFINITY)
  for (const position of all.positions) if (!model.there.has(position)) model.unknown.add(position)
  for (const each of pump.writers) each.disturbed = true
  const before = model.there.size
  model.opens += 2
  model.overlapped = true
  steps.step(`two processes open with the checkpoint ${cursorOf(from)} and append all there is, at the same time`)
  const ran = await Promise.allSettled([run(), run()]) // neither is left at work
  const [first, second] = ran.map((each) => {
    if (each.status === 'rejected') throw each.reason
    return each.value
  }) as [Ran, Ran]
  steps.result(`${first.words}; ${second.words}`)
  for (const each of [first, second]) for (const position of each.appended) model.there.add(position)
  model.tail = 'unknown'
  await pump.check({ extra: 'B8' })
  for (const { resumedAt } of [first, second]) {
    const lost = missingUpTo(model, resumedAt)
    if (lost.length > 0)
      throw new Violation('B1', `one resumes after ${resumedAt}, but ${inWords(lost)} is not in the destination`)
  }
  if (model.there.size > before) for (const each of pump.writers) each.superseded = true
  if (first.unknown || second.unknown) model.shaken = true
  else if (!model.shaken) model.unknown.clear()

  async function run(): Promise<Ran> {
    let stored = model.saved.at(-1)
    const saved = stored?.checkpoint
    const appended: number[] = []
    let resumedAt = 0
    const ended = (outcome: Outcome<unknown>): Ran => {
      const code = outcome.is === 'error' ? codeOf(outcome.error) : undefined
      if (code === undefined && !model.shaken)
        throw new Violation('B8', `expected to append, or FENCED, but found ${errorInWords(outcome)}`)
      return { words: `${inWords(appended)}, then ${code}`, appended, resumedAt, unknown: code !== 'FENCED' }
    }
    const opening = await pump.settled('an open', () => subject.sink().open({ route: ROUTE, source: SOURCE, saved }))
    if (opening.is !== 'value') return ended(opening)
    const writer: SinkWriter = opening.value
    try {
      let at = positionOf(model, writer.resumeFrom)
      if (at === undefined) checkResumption(model, writer, stored)
      at ??= 0
      resumedAt = at
      while (at < model.source.length) {
        const part: Part = partAfter(model, at, 2)
        const outcome = await pump.settled('an append', () => writer.append(part.events, cursorOf(part.to)))
        if (outcome.is !== 'value') return ended(outcome)
        appended.push(...part.positions)
        at = part.to
        if (model.saved.at(-1) !== stored) break // the other one has saved: the bridge ends
        stored = { checkpoint: { cursor: cursorOf(at), mark: outcome.value }, losses: model.losses }
        model.saved.push(stored)
      }
      return { words: inWords(appended), appended, resumedAt, unknown: false }
    } finally {
      await pump.settled('a close', () => writer[Symbol.asyncDispose](), 'Y1')
    }
  }
}
