import type { Patience, Suite } from '../conformance/property.ts'
import type { Steps } from '../conformance/steps.ts'
import { ask } from './ask-source.ts'
import { openAborted, openAndClose, openMalformed, openWrongly } from './open-source.ts'
import { awaitEvents, passOver, stopReader } from './read-source.ts'
import { runOverSource } from './run-over-source.ts'
import type { SourceCommand } from './source-command.ts'
import { disturbLog, disturbServer } from './source-faults.ts'
import { drain, sourcePlay } from './source-play.ts'
import { sourceProperties } from './source-properties.ts'
import type { SourceSubject } from './source-subject.ts'

/** What every source must do: streams, their order, their cursors, and a consumer over them. */
export const sourceSuite: Suite<SourceSubject, SourceCommand> = { properties: sourceProperties, play }

async function play(
  subject: SourceSubject,
  schedule: readonly SourceCommand[],
  steps: Steps,
  patience: Patience,
): Promise<void> {
  const world = sourcePlay(subject, steps, patience)
  const consumer = runOverSource(world)
  try {
    for (const command of schedule) await one(command)
    for (const reader of world.readers()) await drain(reader, steps) // whatever was to come by the end
  } catch (error) {
    await world.end().catch(() => {}) // the first violation is the one to tell
    throw error
  }
  await world.end()

  async function one(command: SourceCommand): Promise<void> {
    switch (command.do) {
      case 'append':
        return void (await world.append(command.count, command.type))
      case 'appendBody':
        return world.appendBody(command.body)
      case 'open': {
        const { cursor, toHead, fromHead, types } = command
        return void (await world.open(world.cursorAt(fromHead ? 0 : cursor), { toHead, fromHead, types }))
      }
      case 'openAborted':
        return openAborted(world, command.turns)
      case 'openMalformed':
        return openMalformed(world, command.which)
      case 'openWrongly':
        return openWrongly(world, command.with)
      case 'openAndClose':
        return openAndClose(world, command.state)
      case 'run':
        return consumer.once(command.until, command.after)
      case 'ask':
        return ask(world, command.what, command.cursor)
      case 'trim':
      case 'remove':
      case 'rewind':
        return disturbLog(world, command)
      case 'recreate':
      case 'corrupt':
        return disturbLog(world, { do: command.do })
      case 'restart':
      case 'freeze':
      case 'cut':
        return disturbServer(world, command.do)
    }
    const open = world.readers()
    const reader = open[command.reader % open.length]
    if (reader === undefined) return
    switch (command.do) {
      case 'read':
        if (!reader.isReadable()) return
        steps.step(`read a batch of the stream opened ${reader.start.opened}`)
        return steps.result(await reader.read())
      case 'drain':
        return drain(reader, steps)
      case 'await':
        return awaitEvents(world, reader, command)
      case 'passOver':
        return passOver(world, reader, command.count)
      case 'abort':
      case 'close':
        return stopReader(world, reader, command.do)
    }
  }
}
