import { parseCheckpoint } from '../../bridge/checkpoint.ts'
import { codeOf } from '../../core/errors.ts'
import type { NewEvent } from '../../core/event.ts'
import { wireNames } from '../../core/wire.ts'
import type { Patience } from '../conformance/property.ts'
import type { Steps } from '../conformance/steps.ts'
import { Violation } from '../conformance/violation.ts'
import { eventOf } from '../event-body.ts'
import { simulatedStart } from '../simulation/simulation.ts'
import type { BridgeCommand } from './bridge-command.ts'
import type { BridgeSubject } from './bridge-subject.ts'
import { describeCommand } from './describe-command.ts'
import { type Life, startLife } from './route-life.ts'
import { ROUTE, routeModel } from './route-model.ts'
import type { RoutePlay } from './route-play.ts'
import { realWorld, simulatedWorld } from './route-world.ts'

/**
 * Takes a route through its fate, then lets a process run to the head that nothing happens to. Throws a `Violation` as soon as
 * something is lost, repeated or reordered in the destination, or saved before it was appended; and at the end, unless the
 * destination holds what the source does.
 */
export async function playRoute(
  subject: BridgeSubject,
  schedule: readonly BridgeCommand[],
  steps: Steps,
  { limitMs }: Patience,
): Promise<void> {
  const [first] = schedule
  const { fromHead = false, batch = Number.POSITIVE_INFINITY } = first?.do === 'route' ? first : {}
  const decisions = schedule.flatMap((command) => (command.do === 'interleave' ? command.decisions : []))
  const world = subject.simulated ? simulatedWorld(decisions) : realWorld(limitMs)
  const model = routeModel(subject, fromHead)
  const play: RoutePlay = {
    ...{ subject, world, model, fromHead, batch },
    ...{
      late: new Set(),
      opening: new Set(),
      starting: new Set(),
      appending: undefined,
      disturbances: 0,
      alive: 0,
      refusing: false,
      trimmed: 0,
    },
  }
  if (subject.delivery === 'at-least-once') steps.refused('effectively-once')
  let lives: { readonly life: Life; readonly number: number }[] = []
  const ended: Life[] = []
  let started = 0
  let accept: (() => Promise<void> | void) | undefined

  async function append(events: readonly NewEvent[]): Promise<void> {
    if (events.length === 0) return
    while (play.opening.size > 0) await Promise.allSettled(play.opening)
    const appended = Promise.withResolvers<void>()
    play.appending = appended.promise
    try {
      const ids = await subject.append(events)
      model.took(events, ids ?? (await idsOf(events.length)))
    } catch (error) {
      if (codeOf(error) !== 'EVENT_UNENCODABLE') throw error
      steps.refused('an event that the source cannot carry')
    } finally {
      play.appending = undefined
      appended.resolve()
    }
  }
  /** What the writer is not told, the source tells. */
  async function idsOf(count: number): Promise<string[]> {
    const ids: string[] = []
    const stream = await subject.source.stream(model.source.at(-1)?.id ?? '', { toHead: true })
    for await (const { events } of stream) for (const { id } of events) ids.push(id)
    await stream[Symbol.asyncDispose]()
    return ids.slice(-count)
  }
  async function take(positions: string): Promise<void> {
    let events: NewEvent[] = []
    for (const letter of positions) {
      const index = model.source.length + events.length
      if (letter !== '-') events.push(smallEvent(letter, index))
      else if (subject.skip !== undefined) {
        await append(events)
        events = []
        await subject.skip(1)
      }
    }
    await append(events)
  }

  const start = (command: Parameters<typeof startLife>[1]): { readonly life: Life; readonly number: number } => {
    const entry = { life: startLife(play, command), number: ++started }
    lives.push(entry)
    return entry
  }
  async function end(entry: { readonly life: Life; readonly number: number }, why: string): Promise<void> {
    await world.ended(
      entry.life.done,
      new Violation(why === 'aborted' ? 'B14' : 'B1', `process ${entry.number} does not end, though it is ${why}`),
    )
    lives = lives.filter((each) => each !== entry)
    ended.push(entry.life)
    model.check()
  }
  async function abortAndEnd(entry: (typeof lives)[number]): Promise<void> {
    entry.life.abort()
    await end(entry, 'aborted')
  }
  /** A route that starts from the head and has left no trace starts from the new head. */
  const isTraceless = async (): Promise<boolean> =>
    fromHead && (play.starting.size > 0 || (await subject.checkpoints.get(ROUTE)) === '')

  async function lose(loss: (() => Promise<void> | void) | undefined): Promise<void> {
    const mayLose = play.alive === 0 || subject.simulated || subject.losesWhileOpen
    if (loss === undefined || play.trimmed > 0 || !mayLose) return
    model.blame.loss = true
    play.disturbances++
    await loss()
  }

  async function perform(command: BridgeCommand): Promise<void> {
    switch (command.do) {
      case 'append':
        return take(command.positions)
      case 'append body':
        return append([eventOf(command.body)])
      case 'append unacceptable': {
        const all = subject.unacceptable ?? []
        const event = all[command.which % all.length]
        return append(event === undefined ? [] : [event])
      }
      case 'life': {
        const entry = start(command)
        const { ends, steps: count = 0 } = command
        if (ends !== undefined) await world.wait(count)
        if (ends === undefined) await end(entry, 'to run to the head')
        else if (ends === 'abort') await abortAndEnd(entry)
        else return
        return steps.result(entry.life.outcome())
      }
      case 'abort': {
        const [oldest] = lives
        if (oldest === undefined) return
        await abortAndEnd(oldest)
        return steps.result(oldest.life.outcome())
      }
      case 'lose tail':
        if (isReadOnly()) return
        return lose(subject.loseTail && (() => subject.loseTail?.(command.count)))
      case 'wipe':
        return isReadOnly() || (await isTraceless()) ? undefined : lose(subject.wipe && (() => subject.wipe?.()))
      case 'reset checkpoint': {
        const older = model.saved.at(-1 - command.back)
        if (older === undefined || play.trimmed > 0) return
        play.disturbances++
        return subject.checkpoints.reset(ROUTE, older)
      }
      case 'lose checkpoint':
        if (fromHead || play.trimmed > 0) return
        play.disturbances++
        return subject.checkpoints.reset(ROUTE, '')
      case 'pass':
        await world.pass(command.ms)
        return checkNoticed(command.ms)
      case 'jump':
        return world.jump(command.ms)
      case 'refuse':
        if (accept !== undefined || subject.refuse === undefined) return
        play.refusing = true
        play.disturbances++
        accept = await subject.refuse()
        return
      case 'accept':
        return acceptAgain()
      case 'trim':
        return trim(command.event)
      case 'restart':
      case 'cut':
        play.disturbances++
        await subject[command.do]?.()
        return
      case 'freeze': {
        if (subject.freeze === undefined) return
        play.disturbances++
        const thaw = await subject.freeze()
        await world.wait(5)
        await thaw()
        play.disturbances++
        return
      }
    }
  }
  /** A bridge that waits asks now and then; whether one that has other things to do gets its turn, decisions say. */
  async function checkNoticed(ms: number): Promise<void> {
    if (!subject.simulated || ms < NOTICED_MS || decisions.length > 0 || play.alive === 0) return
    if ((await model.checkContents()) < model.reached)
      model.violate(
        'B25',
        `the destination lacks what it had, and a process that runs has neither ended nor mended that within ${ms} ms`,
      )
  }
  /** A real destination that refuses appends may refuse to be restored as well. */
  function isReadOnly(): boolean {
    return accept !== undefined && subject.simulated !== true
  }
  async function acceptAgain(): Promise<void> {
    const undo = accept
    accept = undefined
    await undo?.()
    play.refusing = false
  }
  /** Only of a route that is under way: what it has not seen of `""` is no concern of it. */
  async function trim(which: number): Promise<void> {
    const [oldest] = await subject.read()
    if (subject.trim === undefined || fromHead || oldest === undefined) return
    const checkpoint = parseCheckpoint(ROUTE, await subject.checkpoints.get(ROUTE))
    // A real log may need the event of the cursor itself to prove that nothing after it has gone.
    const reached = model.source.findIndex(({ id }) => id === checkpoint?.cursor.replace(/@.*/, '')) + 1
    const first = which % (subject.simulated ? model.source.length : Math.max(1, reached))
    const event = model.source[first]
    if (
      event === undefined ||
      oldest.headers[wireNames.sourceId] === undefined ||
      checkpoint === undefined ||
      (!subject.simulated && reached === 0)
    )
      return
    play.trimmed = Math.max(play.trimmed, first)
    play.disturbances++
    await subject.trim(event.id)
  }

  async function playAll(): Promise<void> {
    for (const command of schedule) {
      steps.step(describeCommand(command, started))
      if (play.alive > 0 || play.late.size > 0) await world.wait(1) // what happens, happens between two steps of theirs
      await perform(command)
      model.check()
    }
    await acceptAgain()
    for (const entry of [...lives]) {
      steps.step(`process ${entry.number} is ${entry.life.idle ? 'aborted' : 'waited for'}`)
      await (entry.life.idle ? abortAndEnd(entry) : end(entry, 'to run to the head'))
      steps.result(entry.life.outcome())
    }
    while (play.late.size > 0) await Promise.all(play.late)
    model.check()
    steps.step('a process that nothing happens to runs the bridge to the head')
    const last = start({ do: 'life' })
    await end(last, 'to run to the head')
    steps.result(last.life.outcome())
    await world.soon(() => ended.every((life) => life.isClosed()))
    for (const life of ended) life.checkAfter()
    if (last.life.excused()) await model.checkContents()
    else await model.checkEnd(await subject.checkpoints.get(ROUTE), last.life.lastRead())
    model.check()
  }

  try {
    await world.run(playAll())
  } finally {
    for (const { life } of lives) life.kill()
    await accept?.()
  }
}

/** Rule 3. */
const NOTICED_MS = 5000

/** A payload of every other event is null; nothing of it is of this machine. */
function smallEvent(foreignId: string, index: number): NewEvent {
  const metadata = index % 2 === 0 ? null : new Uint8Array([index])
  return { type: 1, foreignId, timestamp: simulatedStart + index, metadata, headers: {} }
}
