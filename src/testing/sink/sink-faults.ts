import { setImmediate as turn } from 'node:timers/promises'
import { codeOf } from '../../core/errors.ts'
import { wireNames } from '../../core/wire.ts'
import type { Steps } from '../conformance/steps.ts'
import { Violation } from '../conformance/violation.ts'
import type { SinkCommand } from './sink-command.ts'
import { cursorOf, grow, inWords, type Part, partAfter, ROUTE, type SinkModel, SOURCE } from './sink-model.ts'
import { errorInWords, type PumpWriter, type SinkPump } from './sink-pump.ts'
import type { SinkSubject } from './sink-subject.ts'

/** What a schedule is played with. */
export interface SinkStage {
  readonly subject: SinkSubject
  readonly model: SinkModel
  readonly pump: SinkPump
  readonly steps: Steps
  /** The next events for a writer; the source gets more if it has fewer. */
  next(writer: PumpWriter, count: number): Part
}

type Of<D extends SinkCommand['do']> = Extract<SinkCommand, { do: D }>

/** The last events are lost. */
export async function loseTail(stage: SinkStage, { count, while: how }: Of<'loseTail'>): Promise<void> {
  const { subject, model, pump, steps } = stage
  const open = how === 'open'
  const lost = Math.min(count, model.there.size - 1)
  if (subject.loseTail === undefined || (open && subject.losesWhileOpen === undefined) || lost < 1) return
  if (!open) await closeAll(pump)
  steps.step(`the destination loses its last ${lost} events${open ? ', while writers are open' : ''}`)
  await accountForLoss(stage, () => subject.loseTail?.(lost))
}

/** Everything is lost. */
export async function wipe(stage: SinkStage): Promise<void> {
  const { subject, model, pump, steps } = stage
  if (subject.wipe === undefined || model.there.size === 0) return
  await closeAll(pump)
  steps.step('the destination loses everything')
  model.foreign = 0
  model.wiped = true
  await accountForLoss(stage, () => subject.wipe?.())
}

/** What is left is what there is. */
async function accountForLoss(
  { subject, model, pump, steps }: SinkStage,
  lose: () => Promise<void> | undefined,
): Promise<void> {
  const own = async (): Promise<number[]> =>
    (await subject.read())
      .filter(({ headers }) => headers[wireNames.source] === SOURCE)
      .map(({ headers }) => Number(headers[wireNames.sourceId]))
  const before = await own()
  await lose()
  const left = await own()
  if (left.length >= before.length) throw new Error('the subject was to lose events, but has lost none')
  for (const position of [...model.there]) if (!left.includes(position)) model.there.delete(position)
  steps.result(`${inWords([...model.there])} are left`)
  model.losses++
  model.tail = 'unknown'
  model.unknown.clear()
  for (const each of pump.writers) each.stale = true
  await pump.check()
}

/** Every append is answered with an error: nothing may be appended. */
export async function refuse(stage: SinkStage, { count }: Of<'refuse'>): Promise<void> {
  const { subject, pump, steps } = stage
  if (subject.refuse === undefined) return
  const writer = await writerWithEvents(stage)
  if (writer === undefined) return
  const part = stage.next(writer, count)
  const release = await subject.refuse()
  try {
    steps.step(`the destination refuses to append; ${writer.name} appends ${inWords(part.positions)}`)
    await pump.rejected(writer, part.events, part.to, 'B6', 'the destination answers with an error')
    steps.step(`${writer.name} appends nothing, up to ${part.to}`)
    await pump.rejected(writer, [], part.to, 'B6', 'the destination answers with an error')
  } finally {
    await release()
  }
  await pump.check({ extra: 'B6' })
}

/** Nothing is answered for a while. */
export async function freeze(stage: SinkStage, { during }: Of<'freeze'>): Promise<void> {
  const { subject, model, pump, steps } = stage
  if (subject.freeze === undefined) return
  const writer = await writerWithEvents(stage)
  if (writer === undefined) return
  const part = stage.next(writer, 1)
  const thaw = await subject.freeze()
  try {
    if (during === 'append') {
      steps.step(`the destination stands still; ${writer.name} appends ${inWords(part.positions)}`)
      await appendAmid(stage, writer, part, () => pump.settled('an append', () => appendPart(writer, part), 'Y6'))
      await pump.close(writer)
    } else {
      steps.step(`the destination stands still; a writer opens${during === 'open' ? '' : ', and its signal aborts'}`)
      await openAmid(stage, during === 'open' ? undefined : 2)
    }
  } finally {
    await thaw()
  }
  shake(stage)
  steps.step('the destination goes on')
  await pump.check()
  if (model.unknown.size > 0) steps.result(`${inWords([...model.unknown])} may yet arrive`)
}

/** The connections are lost, with or without the server. */
export async function disconnect(stage: SinkStage, { do: what, when }: Of<'restart' | 'cut'>): Promise<void> {
  const { subject, pump, steps } = stage
  const strike = what === 'cut' ? subject.cut : subject.restart
  if (strike === undefined) return
  const writer = await writerWithEvents(stage)
  if (writer === undefined) return
  const words = what === 'cut' ? 'all connections are cut' : 'the server is killed and started again'
  const part = stage.next(writer, 2)
  if (when === 'before an append') {
    steps.step(`${words}; then ${writer.name} appends ${inWords(part.positions)}`)
    await strike.call(subject)
    shake(stage)
    await appendAmid(stage, writer, part, () => pump.settled('an append', () => appendPart(writer, part)))
  } else {
    steps.step(`${words} while ${writer.name} appends ${inWords(part.positions)}`)
    const appending = pump.settled('an append', () => appendPart(writer, part))
    appending.catch(() => {}) // awaited below
    shake(stage)
    await strike.call(subject)
    await appendAmid(stage, writer, part, () => appending)
  }
  await pump.check()
}

/** An append takes effect, but its reply is lost. */
export async function loseReplies(stage: SinkStage): Promise<void> {
  const { subject, pump, steps } = stage
  if (subject.loseReplies === undefined) return
  const writer = await pump.pick(0)
  if (writer === undefined) return
  const part = stage.next(writer, 2)
  steps.step(`${writer.name} appends ${inWords(part.positions)}, and the reply is lost`)
  const restore = await subject.loseReplies()
  try {
    await appendAmid(stage, writer, part, () => pump.settled('an append', () => appendPart(writer, part), 'Y8'))
  } finally {
    await restore()
  }
  shake(stage)
  await pump.check()
}

/** Opens with a signal that aborts after so many turns. */
export async function openAborted(stage: SinkStage, { turns }: Of<'openAborted'>): Promise<void> {
  const { model, pump, steps } = stage
  steps.step(`a writer opens with a signal that aborts ${turns === 0 ? 'before' : `after ${turns} turns`}`)
  await openAmid(stage, turns)
  if (turns > 0) {
    for (const each of pump.writers) each.disturbed = true // it may have come as far as that
    model.shaken = true
  }
  await pump.check()
}

/** Opens another writer that nobody wants. `abortAfter`: so many turns; undefined: never, but it is not answered. */
async function openAmid(stage: SinkStage, abortAfter: number | undefined): Promise<void> {
  const { subject, model, pump, steps } = stage
  const controller = new AbortController()
  const { signal } = controller
  const reason = new Error('enough')
  if (abortAfter === 0) controller.abort(reason)
  const options = { route: ROUTE, source: SOURCE, saved: model.saved.at(-1)?.checkpoint, signal }
  let isLate = false // it has not ended before the abort
  const opening = pump.settled('an open', () => subject.sink().open(options), abortAfter === undefined ? 'Y6' : 'Y2')
  const ended = (): void => {
    isLate = signal.aborted
  }
  opening.then(ended, ended)
  for (let i = 0; i < (abortAfter ?? 0); i++) await turn()
  if (abortAfter !== undefined) controller.abort(reason)
  const outcome = await opening
  const isReason = outcome.is === 'error' && outcome.error === reason
  if (outcome.is === 'value') {
    steps.result('resolves all the same')
    await pump.settled('a close', () => outcome.value[Symbol.asyncDispose](), 'Y1')
    for (const each of pump.writers) each.disturbed = true
  } else {
    steps.result(`rejects with ${isReason ? 'the reason' : errorInWords(outcome)}`)
  }
  // One that had come to its end already may resolve.
  if (!isLate || isReason || (abortAfter !== 0 && outcome.is === 'value')) return
  const but = outcome.is === 'value' ? 'it resolves' : `it rejects with ${errorInWords(outcome)}`
  throw new Violation('Y2', `expected an open whose signal has aborted to reject with the signal's reason, but ${but}`)
}

/** An append under way when something happens: what becomes of it is not known unless it succeeds. */
async function appendAmid(
  { pump, steps }: SinkStage,
  writer: PumpWriter,
  part: Part,
  appending: () => ReturnType<typeof pump.settled<string>>,
): Promise<void> {
  const outcome = await appending()
  if (outcome.is === 'value') {
    steps.result(pump.appended(writer, part, outcome.value, true))
    return
  }
  steps.result(`rejects with ${errorInWords(outcome)}`)
  // A fenced writer has appended nothing, whatever else has happened.
  if (outcome.is === 'error' && codeOf(outcome.error) === 'FENCED' && writer.disturbed) writer.dead = true
  else pump.leftUnknown(writer, part)
}

/** From now on any of the writers may find its connection lost. */
function shake({ model, pump }: SinkStage): void {
  model.shaken = true
  for (const each of pump.writers) each.shaken = true
}

function appendPart({ writer }: PumpWriter, { events, to }: Part): Promise<string> {
  return writer.append(events, cursorOf(to))
}

/** The newest writer, once it has appended something. */
async function writerWithEvents(stage: SinkStage): Promise<PumpWriter | undefined> {
  const { model, pump } = stage
  const writer = await pump.pick(0)
  if (writer === undefined || model.there.size > 0) return writer
  await pump.append(writer, stage.next(writer, 1), true)
  return writer.dead ? pump.open() : writer
}

/** Every writer ends. */
export async function closeAll(pump: SinkPump): Promise<void> {
  for (const writer of pump.writers) await pump.close(writer)
}

/** A batch with an event that is not to be appended, among good ones. What is wrong with it is mended in the source by its removal. */
export async function appendPoisoned(
  { model, pump, steps }: SinkStage,
  writer: PumpWriter,
  {
    before,
    after,
    what,
    poison,
    rule,
    isRight,
  }: {
    readonly before: number
    readonly after: number
    readonly what: string
    readonly poison: Parameters<typeof grow>[1]
    readonly rule: string
    isRight(error: unknown): string | undefined
  },
): Promise<void> {
  for (let i = 0; i < before; i++) grow(model)
  const bad = grow(model, poison)
  for (let i = 0; i < after; i++) grow(model)
  const part = partAfter(model, writer.at, Number.POSITIVE_INFINITY)
  steps.step(`${writer.name} appends ${inWords(part.positions)}, of which ${bad} ${what}`)
  const error = await pump.rejected(writer, part.events, part.to, rule, `event ${bad} ${what}`)
  model.source[bad - 1] = undefined
  await pump.check({ extra: rule, missing: rule })
  if (codeOf(error) === 'FENCED' && writer.disturbed) return
  const wrong = isRight(error)
  if (wrong !== undefined) throw new Violation(rule, wrong)
}
