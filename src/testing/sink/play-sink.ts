import { setTimeout as pause } from 'node:timers/promises'
import { codeOf, messageOf } from '../../core/errors.ts'
import { wireNames } from '../../core/wire.ts'
import type { Patience } from '../conformance/property.ts'
import type { Steps } from '../conformance/steps.ts'
import { Violation } from '../conformance/violation.ts'
import { eventOf } from '../event-body.ts'
import type { SinkCommand } from './sink-command.ts'
import * as faults from './sink-faults.ts'
import { cursorOf, grow, inWords, missingUpTo, partAfter, sinkModel } from './sink-model.ts'
import { errorInWords, type PumpWriter, sinkPump } from './sink-pump.ts'
import { race, takeOver } from './sink-rivals.ts'
import type { SinkSubject } from './sink-subject.ts'

/** After a fault, so many openings may be in vain. */
const TRIES = 5

/** See `Suite.play`. */
export async function playSink(
  subject: SinkSubject,
  schedule: readonly SinkCommand[],
  steps: Steps,
  { limitMs }: Patience,
): Promise<void> {
  const once = subject.delivery !== 'at-least-once'
  if (!once) steps.refused('effectively once')
  const model = sinkModel(once, subject.ordered ?? 'all')
  const pump = sinkPump(subject, model, steps, limitMs)
  const next = (writer: PumpWriter, count: number) => {
    while (partAfter(model, writer.at, count).events.length < count) grow(model)
    return partAfter(model, writer.at, count)
  }
  const stage: faults.SinkStage = { subject, model, pump, steps, next }
  const connections = await subject.connections?.()
  let isOver = false
  try {
    for (const command of schedule) await obey(command)
    if (schedule.length > 0) await finish()
    isOver = true
  } finally {
    // A failure is told as it is, not as what came of the closing after it.
    const closing = faults.closeAll(pump)
    await (isOver ? closing : closing.catch(() => {}))
  }
  if (connections !== undefined) await checkConnections(connections)

  async function obey(command: SinkCommand): Promise<void> {
    switch (command.do) {
      case 'append': {
        const writer = await pump.pick(command.writer)
        return writer && pump.append(writer, next(writer, command.count), command.save)
      }
      case 'appendEmpty': {
        const writer = await pump.pick(command.writer)
        if (writer === undefined) return
        if (writer.at === model.source.length) grow(model, null)
        return pump.append(writer, partAfter(model, writer.at, 0), command.save)
      }
      case 'appendBody': {
        const writer = await pump.pick(0)
        return writer && appendBody(writer, eventOf(command.body))
      }
      case 'appendForwarded': {
        const writer = await pump.pick(0)
        if (writer === undefined) return
        const headers = { [wireNames.source]: 'elsewhere', [wireNames.sourceId]: '99' }
        for (let i = 0; i < command.count; i++) grow(model, { headers })
        return pump.append(writer, partAfter(model, writer.at, Number.POSITIVE_INFINITY), true)
      }
      case 'appendBroken': {
        const writer = await pump.pick(0)
        if (writer === undefined) return
        return faults.appendPoisoned(stage, writer, {
          ...command,
          what: 'has a foreignId that is no Unicode',
          poison: { foreignId: 'a\ud800b' },
          rule: 'B7',
          isRight: (error) =>
            codeOf(error) === 'EVENT_UNENCODABLE'
              ? undefined
              : `expected EVENT_UNENCODABLE, but it rejects with ${codeOf(error)}: ${messageOf(error)}`,
        })
      }
      case 'appendOversize': {
        if (subject.oversize === undefined) return
        const writer = await pump.pick(0)
        if (writer === undefined) return
        return faults.appendPoisoned(stage, writer, {
          ...command,
          what: `has a payload of ${subject.oversize} bytes`,
          poison: { metadata: new Uint8Array(subject.oversize) },
          rule: 'B12',
          isRight: (error) =>
            codeOf(error) === undefined
              ? `expected an error with a code, but it rejects with ${messageOf(error)}`
              : undefined,
        })
      }
      case 'open':
        if (command.saved === 'older' && model.saved.pop())
          steps.step('the checkpoints are restored from an older copy')
        if (command.saved === 'none' && model.saved.splice(0).length > 0) steps.step('the checkpoints are lost')
        return void (await pump.open())
      case 'openAborted':
        return faults.openAborted(stage, command)
      case 'close': {
        const writer = pump.writers[pump.writers.length - 1 - command.writer]
        if (writer === undefined) return
        steps.step(`${writer.name} is closed three times`)
        return pump.close(writer)
      }
      case 'takeOver':
        return takeOver(stage, command)
      case 'race':
        return race(stage, command.count)
      case 'loseTail':
        return faults.loseTail(stage, command)
      case 'wipe':
        return faults.wipe(stage)
      case 'refuse':
        return faults.refuse(stage, command)
      case 'freeze':
        return faults.freeze(stage, command)
      case 'restart':
      case 'cut':
        return faults.disconnect(stage, command)
      case 'loseReplies':
        return faults.loseReplies(stage)
      case 'foreign':
        if (subject.foreign === undefined) return
        steps.step('somebody else appends an event')
        model.foreign++
        await subject.foreign()
        return pump.check()
    }
  }

  /** An event that the destination cannot carry unchanged may be refused, but then nothing is appended. */
  async function appendBody(writer: PumpWriter, event: ReturnType<typeof eventOf>): Promise<void> {
    const before = partAfter(model, writer.at, Number.POSITIVE_INFINITY)
    if (before.events.length > 0) await pump.append(writer, before, true)
    if (writer.dead) return
    const position = grow(model, event)
    const part = partAfter(model, writer.at, 1)
    steps.step(`${writer.name} appends event ${position}, of any kind`)
    const outcome = await pump.settled('an append', () => writer.writer.append(part.events, cursorOf(part.to)))
    if (outcome.is === 'value') {
      steps.result(pump.appended(writer, part, outcome.value, true))
      return pump.check()
    }
    steps.result(`rejects with ${errorInWords(outcome)}`)
    writer.dead = true
    model.source[position - 1] = undefined
    const code = outcome.is === 'error' ? codeOf(outcome.error) : undefined
    if (code === 'EVENT_UNENCODABLE') steps.refused('some events')
    else if (!(code === 'FENCED' && writer.disturbed) && !writer.shaken && !model.shaken)
      throw new Violation(
        'B15',
        `expected the event to be appended, or refused with EVENT_UNENCODABLE, but it rejects with ${errorInWords(outcome)}`,
      )
    await pump.check({ extra: 'B15' })
  }

  /** Forwards all that the source has, and one event more; then everything has to be there. */
  async function finish(): Promise<void> {
    grow(model)
    for (let tries = 0; tries < TRIES; tries++) {
      const writer = await pump.open()
      if (writer === undefined) return // refused after everything was lost
      while (!writer.dead && writer.at < model.source.length) {
        await pump.append(writer, partAfter(model, writer.at, Number.POSITIVE_INFINITY), true)
      }
      if (!writer.dead) break
    }
    const missing = missingUpTo(model, model.source.length)
    if (missing.length > 0)
      throw new Violation(
        'B1',
        `expected everything to be in the destination at the end, but ${inWords(missing)} is not`,
      )
  }

  async function checkConnections(before: number): Promise<void> {
    const deadline = performance.now() + limitMs
    for (;;) {
      const now = (await subject.connections?.()) ?? 0
      if (now <= before) return
      if (performance.now() > deadline)
        throw new Violation(
          'Y9',
          `expected ${before} connections when every writer is closed, as before, but found ${now}`,
        )
      await pause(10)
    }
  }
}
