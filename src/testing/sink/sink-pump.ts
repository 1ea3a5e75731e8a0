import { setTimeout as pause } from 'node:timers/promises'
import { codeOf, isRetriable, messageOf } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import type { Checkpoint, Mark, SinkWriter } from '../../core/sink.ts'
import type { Steps } from '../conformance/steps.ts'
import { Violation } from '../conformance/violation.ts'
import { type Outcome, outcomeOf } from '../conformance/within.ts'
import { checkResumption } from './check-resumption.ts'
import {
  checkContents,
  cursorOf,
  inWords,
  type Part,
  positionOf,
  ROUTE,
  type Saved,
  type SinkModel,
  SOURCE,
} from './sink-model.ts'
import type { SinkSubject } from './sink-subject.ts'

/** A writer, and the bridge that has it. */
export interface PumpWriter {
  readonly name: string
  readonly writer: SinkWriter
  /** The how manieth it is. */
  readonly opened: number
  /** How far the source has been read. */
  at: number
  /** What the bridge knows the checkpoint store to hold: it saves by compare-and-set. */
  stored: Saved | undefined
  /** It has failed, or was closed. */
  dead: boolean
  /** Another writer has opened or appended meanwhile, so that it may be fenced. */
  disturbed: boolean
  /** A newer one has appended, so that it must be. */
  superseded: boolean
  /** The destination has lost its tail under it. */
  stale: boolean
  /** Its connection may be lost. */
  shaken: boolean
}

/** Appends, as bridges do, and holds the destination against the model after each step. */
export interface SinkPump {
  readonly writers: readonly PumpWriter[]
  /** The n-th newest writer; undefined if there are fewer. The newest is opened if it is not at work. */
  pick(index: number): Promise<PumpWriter | undefined>
  /** Opens another writer with the newest checkpoint. Undefined if it is refused, which it may be after everything was lost. */
  open(): Promise<PumpWriter | undefined>
  /** Appends a part with a writer, which must succeed unless the model says otherwise. */
  append(writer: PumpWriter, part: Part, save: boolean): Promise<void>
  /** Takes note of an append that came through. */
  appended(writer: PumpWriter, part: Part, mark: Mark, save: boolean): string
  /** Takes note of an append whose outcome is not known. */
  leftUnknown(writer: PumpWriter, part: Part): void
  /** Appends what must be rejected; resolves with the error. */
  rejected(writer: PumpWriter, events: readonly Event[], to: number, rule: string, why: string): Promise<unknown>
  /** Reads the destination, and holds it against the model. */
  check(rules?: { readonly extra?: string; readonly missing?: string }): Promise<void>
  /** What becomes of a call, which must settle in time. */
  settled<T>(what: string, call: () => PromiseLike<T>, rule?: string): Promise<Outcome<T>>
  close(writer: PumpWriter): Promise<void>
}

const RETRY_EVERY_MS = 20

/** Makes the pump of one schedule. */
export function sinkPump(subject: SinkSubject, model: SinkModel, steps: Steps, limitMs: number): SinkPump {
  const writers: PumpWriter[] = []

  async function settled<T>(what: string, call: () => PromiseLike<T>, rule = 'Y6'): Promise<Outcome<T>> {
    const outcome = await outcomeOf(start(call), limitMs)
    if (outcome.is !== 'nothing') return outcome
    throw new Violation(rule, `${what} must settle within ${limitMs} ms, but it has not`)
  }
  async function check(rules?: { readonly extra?: string; readonly missing?: string }): Promise<void> {
    checkContents(model, await subject.read(), rules)
  }

  /** A supervisor would try again: a broker that has just been started may not be ready. */
  function mayPass(outcome: Outcome<unknown>): boolean {
    return model.shaken || (outcome.is === 'error' && codeOf(outcome.error) !== undefined && isRetriable(outcome.error))
  }

  async function open(): Promise<PumpWriter | undefined> {
    const stored = model.saved.at(-1)
    const saved = stored?.checkpoint
    const name = `writer ${++model.opens}`
    steps.step(`${name} opens with ${saved === undefined ? 'no checkpoint' : `the checkpoint ${saved.cursor}`}`)
    const deadline = performance.now() + 4 * limitMs
    let outcome: Outcome<SinkWriter>
    for (let tries = 1; ; tries++) {
      outcome = await settled('an open', () => subject.sink().open({ route: ROUTE, source: SOURCE, saved }))
      if (outcome.is === 'value' || !mayPass(outcome) || performance.now() > deadline) break
      if (tries > 2) await pause(RETRY_EVERY_MS)
    }
    if (outcome.is !== 'value') {
      steps.result(`rejects with ${errorInWords(outcome)}`)
      if (model.wiped && outcome.is === 'error' && codeOf(outcome.error) !== undefined) return undefined
      throw new Violation(
        model.losses > 0 ? 'B9' : 'B1',
        `expected the destination to be opened, but it rejects with ${errorInWords(outcome)}`,
      )
    }
    for (const each of writers) each.disturbed = true
    const { value: writer } = outcome
    const at = positionOf(model, writer.resumeFrom)
    const opened = { name, writer, opened: model.opens, at: at ?? 0, stored, dead: false }
    const made: PumpWriter = { ...opened, disturbed: false, superseded: false, stale: false, shaken: false }
    writers.push(made)
    steps.result(
      `resumes ${writer.resumeFrom === '' ? 'from the start' : `after ${writer.resumeFrom}`}${writer.repair === undefined ? '' : `; repair: ${writer.repair}`}`,
    )
    await check()
    checkResumption(model, writer, stored)
    return made
  }

  /** The checkpoint store is compare-and-set: who does not know what it holds has to start again. */
  function saveCheckpoint(writer: PumpWriter, checkpoint: Checkpoint): string {
    if (model.saved.at(-1) !== writer.stored) {
      writer.dead = true
      return 'another one has saved a checkpoint meanwhile'
    }
    writer.stored = { checkpoint, losses: model.losses }
    model.saved.push(writer.stored)
    return `checkpoint ${checkpoint.cursor} at ${checkpoint.mark} saved`
  }

  function appended(writer: PumpWriter, { positions, to }: Part, mark: Mark, save: boolean): string {
    const isNew = positions.some((position) => !model.there.has(position))
    for (const position of positions) {
      model.there.add(position)
      if (model.once) model.unknown.delete(position)
    }
    writer.at = to
    const tail = { cursor: cursorOf(to), mark }
    model.tail = tail
    model.clean = true
    model.wiped = false
    if (isNew) {
      for (const other of writers) {
        if (other === writer) continue
        other.disturbed = true
        if (other.opened < writer.opened) other.superseded = true
      }
    }
    return save ? saveCheckpoint(writer, tail) : 'its checkpoint is not saved'
  }

  function leftUnknown(writer: PumpWriter, { positions }: Part): void {
    writer.dead = true
    for (const position of positions) if (!model.there.has(position) || !model.once) model.unknown.add(position)
    model.tail = 'unknown'
    model.shaken = true
    for (const each of writers) each.shaken = true
  }

  return {
    writers,
    settled,
    check,
    open,
    appended,
    leftUnknown,
    pick: async (index) => {
      const picked = writers[writers.length - 1 - index]
      return index > 0 || (picked !== undefined && !picked.dead && !picked.superseded) ? picked : open()
    },
    append: async (writer, part, save) => {
      if (writer !== writers.at(-1)) model.overlapped = true
      if (writer.dead && !writer.superseded) return
      steps.step(
        `${writer.name} appends ${part.events.length === 0 ? `nothing, up to ${part.to}` : inWords(part.positions)}`,
      )
      const fenced = model.once && writer.superseded
      const outcome = await settled('an append', () => writer.writer.append(part.events, cursorOf(part.to)))
      if (outcome.is === 'value') {
        if (fenced)
          throw new Violation('B8', `expected ${writer.name} to be fenced, as a newer one has appended, but it appends`)
        if (writer.stale)
          throw new Violation('B19', `expected ${writer.name} to notice that the tail was lost, but it appends`)
        steps.result(appended(writer, part, outcome.value, save))
        await check({ extra: part.events.length === 0 ? 'B17' : 'B6' })
        if (model.once && part.events.length > 0 && !writer.shaken) {
          // What was late has been refused by now, or will be.
          model.unknown.clear()
          model.shaken = false
        }
        return
      }
      steps.result(`rejects with ${errorInWords(outcome)}`)
      const wasDead = writer.dead
      writer.dead = true
      const code = codeOf(outcome.is === 'error' ? outcome.error : undefined)
      const isExcused = wasDead || writer.stale || writer.shaken || model.shaken
      if (fenced) {
        if (code !== 'FENCED' && !isExcused)
          throw new Violation(
            'B8',
            `expected ${writer.name} to reject with FENCED, but it rejects with ${errorInWords(outcome)}`,
          )
      } else if (!(code === 'FENCED' && writer.disturbed)) {
        if (!isExcused)
          throw new Violation(
            'B1',
            `expected ${inWords(part.positions)} to be appended, but it rejects with ${errorInWords(outcome)}`,
          )
        if (!writer.stale) leftUnknown(writer, part)
      }
      await check({ extra: fenced ? 'B8' : writer.stale ? 'B19' : 'B6' })
    },
    rejected: async (writer, events, to, rule, why) => {
      const outcome = await settled('an append', () => writer.writer.append(events, cursorOf(to)), rule)
      steps.result(outcome.is === 'value' ? 'it resolves' : `rejects with ${errorInWords(outcome)}`)
      writer.dead = true
      model.clean = false
      if (outcome.is === 'error') return outcome.error
      throw new Violation(rule, `expected the append to reject, as ${why}, but it resolves`)
    },
    close: async (writer) => {
      writer.dead = true
      const close = () => writer.writer[Symbol.asyncDispose]()
      const both = await Promise.all([settled('a close', close, 'Y1'), settled('a close', close, 'Y1')])
      for (const outcome of [...both, await settled('a close', close, 'Y1')]) {
        if (outcome.is === 'error')
          throw new Violation(
            'Y1',
            `expected ${writer.name} to close any number of times, but it rejects with ${errorInWords(outcome)}`,
          )
      }
    },
  }
}

/** What a call throws at once counts as a rejection. */
async function start<T>(call: () => PromiseLike<T>): Promise<T> {
  return await call()
}

/** An outcome that is no value. */
export function errorInWords(outcome: Outcome<unknown>): string {
  if (outcome.is !== 'error') return 'nothing'
  const { error } = outcome
  return `${codeOf(error) ?? 'an error without code'}: ${messageOf(error).slice(0, 200)}`
}
