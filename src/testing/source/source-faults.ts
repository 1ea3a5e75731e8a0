import { messageOf } from '../../core/errors.ts'
import { Violation } from '../conformance/violation.ts'
import { outcomeOf } from '../conformance/within.ts'
import type { ModelReader } from './model-reader.ts'
import { faultProperty, type ServerFault } from './server-fault.ts'
import { dispose, type SourcePlay } from './source-play.ts'

type LogFault =
  | { readonly do: 'recreate' }
  | { readonly do: 'corrupt' }
  | { readonly do: 'trim' | 'remove' | 'rewind'; readonly event: number; readonly append?: number | undefined }

/** Does to the log what its owner, its retention or an older copy would do. A read that waits meanwhile has to notice. */
export async function disturbLog(world: SourcePlay, command: LogFault): Promise<void> {
  const { subject, model, steps } = world
  if (subject[command.do] === undefined) return
  if (command.do === 'corrupt') {
    steps.step('append what is not an event')
    await subject.corrupt?.()
    return model.append([undefined], undefined)
  }
  if (command.do === 'recreate') {
    return whileOneWaits(world, 'delete the log and make it again', async () => {
      world.disturb('recreate')
      await subject.recreate?.()
      model.recreate()
    })
  }
  const what = command.do
  const present = model.present()
  if (what !== 'trim') present.pop() // what follows it would be nothing; and the newest entry is never taken out
  const entry = present[command.event % present.length]
  if (entry === undefined) return
  const id = model.entries[entry]?.id as string
  const disturb = async (): Promise<void> => {
    world.disturb(what)
    await subject[what]?.(id)
    model[what](entry)
  }
  if (what !== 'rewind') {
    steps.step(`${what === 'trim' ? 'trim what is before' : 'remove'} event ${JSON.stringify(id)}`)
    return disturb()
  }
  const others = Math.min(command.append ?? 0, model.entries.length - entry - 2)
  await whileOneWaits(world, `lose what follows event ${JSON.stringify(id)}`, async () => {
    await disturb()
    if (others > 0) await world.append(others, 1)
  })
}

/** A stream at its head that nothing has happened to. */
function findIdle(world: SourcePlay): ModelReader | undefined {
  const isIdle = (reader: ModelReader): boolean =>
    !reader.isReadable() &&
    reader.start.end === undefined &&
    reader.start.types?.length !== 0 && // to that one nothing comes
    reader.disturbed.size === 0
  return world.readers().find(isIdle)
}

async function whileOneWaits(world: SourcePlay, words: string, change: () => Promise<void>): Promise<void> {
  const { steps, patience } = world
  const idle = findIdle(world)
  steps.step(idle === undefined ? words : `${words}, while a read of the stream opened ${idle.start.opened} waits`)
  const pending = idle?.begin()
  pending?.catch(() => {}) // looked at below; it may fail before the change is over
  if (pending !== undefined) await world.settle()
  await change()
  if (idle === undefined || pending === undefined) return
  if (!idle.isReadable()) return idle.close() // nothing says that it has to notice
  steps.step('see what became of the read that waited')
  steps.result(idle.take(await outcomeOf(pending, patience.limitMs)))
}

/** Does to the server, or to the way to it, what nights are long for. A read that waits notices, and nothing is lost. */
export async function disturbServer(world: SourcePlay, what: ServerFault): Promise<void> {
  const { subject, steps, patience } = world
  if (subject[what] === undefined) return
  const idle = findIdle(world)
  const words = {
    restart: 'kill the server and start it again',
    freeze: 'freeze the server',
    cut: 'cut every connection',
  }[what]
  steps.step(`${words}${idle === undefined ? '' : `, while a read of the stream opened ${idle.start.opened} waits`}`)
  const pending = idle?.begin()
  pending?.catch(() => {}) // looked at below; it may fail before the fault is over
  if (pending !== undefined) await world.settle()
  world.disturb(what)
  if (what === 'freeze') {
    const thaw = await subject.freeze?.()
    try {
      await whileFrozen(world, idle, pending)
    } finally {
      await thaw?.()
    }
    return
  }
  await subject[what]?.()
  if (idle === undefined || pending === undefined) return
  await world.append(1, idle.start.types?.[0] ?? 1)
  steps.step('see what became of the read that waited')
  steps.result(idle.take(await outcomeOf(pending, patience.limitMs)))
}

async function whileFrozen(
  { subject, steps, patience: { limitMs } }: SourcePlay,
  idle: ModelReader | undefined,
  pending: ReturnType<ModelReader['begin']> | undefined,
): Promise<void> {
  const id = faultProperty.freeze
  if (idle !== undefined && pending !== undefined) {
    steps.result(await endsAtFrozen(idle, pending, limitMs))
    steps.step('close it, while the server stands still')
    await idle.close()
  }
  steps.step('open a stream at "", and ask what the source can tell, while the server stands still')
  const { source } = subject
  const asked = {
    'the head': source.head?.(),
    'the backlog': source.backlog?.(''),
    'the cursor of a time': source.at?.(FROZEN_AT),
  }
  const answering = Object.entries(asked).map(
    async ([what, answer]) => [what, answer && (await outcomeOf<unknown>(answer, limitMs))] as const,
  )
  const opening = await outcomeOf(source.stream('', {}), limitMs)
  for (const [what, outcome] of await Promise.all(answering)) {
    if (outcome?.is === 'nothing')
      throw new Violation(id, `a question for ${what} to a frozen server has not ended within ${limitMs} ms`)
  }
  if (opening.is === 'nothing')
    throw new Violation(id, `an open at a frozen server has not ended within ${limitMs} ms; expected an error`)
  if (opening.is === 'error') return steps.result(messageOf(opening.error))
  await dispose(opening.value, limitMs)
  throw new Violation(id, 'a stream was opened at a frozen server, which can have proven nothing; expected an error')
}

async function endsAtFrozen(
  reader: ModelReader,
  pending: ReturnType<ModelReader['begin']>,
  limitMs: number,
): Promise<string> {
  const id = faultProperty.freeze
  let outcome = await outcomeOf(pending, limitMs)
  let empty = 0
  for (; outcome.is === 'value' && !outcome.value.done && empty < MAX_EMPTY; empty++) {
    reader.take(outcome)
    outcome = await outcomeOf(reader.begin(), limitMs)
  }
  if (outcome.is === 'nothing')
    throw new Violation(id, `a read at a frozen server has not ended within ${limitMs} ms; expected an error`)
  if (outcome.is === 'error') return reader.take(outcome)
  throw new Violation(
    id,
    outcome.value.done
      ? 'a read at a frozen server ended as if there were no more; expected an error'
      : `reads at a frozen server gave ${empty + 1} empty batches; expected an error`,
  )
}

/** Any time will do, epoch in ms; but one to look for in the log. */
const FROZEN_AT = 1_800_000_000_000

/** An answer may have been on its way, or a timer of the client's own have been before the server's. */
const MAX_EMPTY = 3
