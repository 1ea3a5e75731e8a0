import { getEventListeners } from 'node:events'
import { bridge } from '../../bridge/bridge.ts'
import { codeOf, isRetriable, messageOf, type RunError, type RunStage } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import type { RunResult } from '../../core/run.ts'
import type { LifeCommand, Operation } from './bridge-command.ts'
import { aborted, faultyOperations } from './faulty-operations.ts'
import { faultyRoute } from './faulty-route.ts'
import { ROUTE } from './route-model.ts'
import type { RoutePlay } from './route-play.ts'

/** One process that runs the bridge. */
export interface Life {
  /** Settles when the bridge has; never rejects. */
  readonly done: Promise<void>
  readonly idle: boolean
  abort(): void
  /** Its parts do nothing any more, and nothing about it is checked. */
  kill(): void
  /** It failed of what the schedule made inevitable: an event that cannot be held, or a source that has forgotten what is needed. */
  excused(): boolean
  /** How it ended, in words. */
  outcome(): string
  /** Whether everything that it opened is closed. */
  isClosed(): boolean
  /** When all is over, nothing is left of it either that it opened while it ended. */
  checkAfter(): void
  /** The position of the last batch that was read. */
  lastRead(): Cursor | undefined
}

const stages: Readonly<Record<Operation, RunStage>> = {
  get: 'cursor',
  'open sink': 'open',
  'open source': 'open',
  read: 'receive',
  append: 'handle',
  save: 'commit',
}

/** Starts one. */
export function startLife(play: RoutePlay, plan: LifeCommand): Life {
  const { subject, world, model, fromHead } = play
  const controller = new AbortController()
  const { signal } = controller
  const leave = world.join()
  const before = play.disturbances
  if (play.alive > 0) {
    model.blame.overlap = true
    play.disturbances++
  }
  play.alive++
  const refusedBefore = play.refusing
  const operations = faultyOperations(play, plan, controller)
  const route = faultyRoute(play, operations)
  const idle = plan.ends === 'abort' || plan.ends === 'beside, idle'
  let sleeping = 0
  let told: string | undefined
  let words = ''
  let ended = false

  const pump = async (): Promise<RunResult> =>
    (subject.bridge ?? bridge)(
      { name: ROUTE, ...route.parts },
      {
        toHead: !idle,
        fromHead,
        signal,
        clock: {
          ...world.clock,
          sleep: (ms, until) => {
            sleeping++
            return world.clock.sleep(ms, until).finally(() => {
              sleeping--
            })
          },
        },
        observer: {
          repaired: (text) => {
            told = text
          },
        },
      },
    )

  function checkClosed(): void {
    for (const { what, closed } of route.opened) {
      if (closed === 1) continue
      model.violate(
        'Y1',
        `the ${what} that was opened should be closed once when the bridge has ended, but was ${closed === 0 ? 'not' : `${closed} times`}`,
      )
    }
    if (play.late.size > 0) return // a source that opens late listens until it is closed again
    const listeners = getEventListeners(signal, 'abort').length
    if (listeners > 0) model.violate('Y1', `${listeners} listeners are left on the signal of a bridge that has ended`)
  }

  /** What is wrong about the error that it rejected with. */
  function verdictOn(error: unknown): readonly [property: string, message: string] | undefined {
    const { thrown } = operations
    if (signal.aborted && !thrown.some(({ beforeAbort }) => beforeAbort))
      return ['B14', `a bridge that is aborted should resolve, but it rejected: ${messageOf(error)}`]
    const { name, stage, cause, eventId } = Object(error) as Partial<Record<keyof RunError, unknown>>
    const reason = thrown.find((each) => each.error === cause)
    if (thrown.length === 0) return ['B1', `no operation failed, but the bridge did: ${messageOf(error)}`]
    if (name !== 'RunError' || reason === undefined) {
      const wanted = thrown.map((each) => messageOf(each.error)).join('; ')
      return [
        'B6',
        `the bridge should fail with a RunError whose cause is (${wanted}), but failed with ${String(error)}`,
      ]
    }
    const wanted = stages[reason.operation]
    const code = codeOf(cause) ?? `${wanted.toUpperCase()}_FAILED`
    const found = `${String(stage)}, ${codeOf(error)}, ${isRetriable(error) ? '' : 'not '}retriable`
    const expected = `${wanted}, ${code}, ${isRetriable(cause) ? '' : 'not '}retriable`
    if (found !== expected)
      return ['B6', `when "${reason.operation}" fails, the error should be (${expected}), but is (${found})`]
    if (reason.operation === 'append' && reason.events.length > 0 && !reason.events.some(({ id }) => id === eventId))
      return ['B6', `the error of an append should name an event of its batch, but names ${String(eventId)}`]
    const calm = play.disturbances === before && !refusedBefore && !play.refusing
    if (reason.injected || !calm || reason.excused) return undefined
    return ['B1', `nothing happened to this process, and no other ran, but it failed: ${messageOf(error)}`]
  }

  function checkResult({ reason, error }: RunResult): void {
    const { thrown, unsaved } = operations
    const wanted = signal.aborted ? 'aborted' : 'head'
    if (reason !== wanted) model.violate('B14', `the bridge should have ended as ${wanted}, but ended as ${reason}`)
    const [first] = thrown
    if (reason === 'head' && first !== undefined)
      model.violate('B6', `"${first.operation}" failed (${messageOf(first.error)}), but the bridge went on to the head`)
    if (error === undefined && thrown.length === 0 && unsaved > 0)
      model.violate('B14', `${unsaved} batches were appended that no checkpoint was saved for before the bridge ended`)
    if (reason === 'head' && told !== route.repair())
      model.violate(
        'B9',
        `the observer should have been told of the repair ${JSON.stringify(route.repair())}, but was told ${JSON.stringify(told)}`,
      )
  }

  function end(result: RunResult | undefined, error: unknown): void {
    if (ended) return
    ended = true
    operations.settled = true
    leave()
    play.alive--
    play.starting.delete(operations)
    words = operations.dead ? 'it is dead' : result ? `it ends: ${result.reason}` : `it fails: ${messageOf(error)}`
    if (play.subject.simulated) checkClosed() // else what opens late is closed late
    if (operations.dead) return
    const verdict = result === undefined ? verdictOn(error) : undefined
    if (result !== undefined) checkResult(result)
    if (verdict !== undefined) model.violate(...verdict)
  }

  return {
    done: pump().then(
      (result) => end(result, undefined),
      (error: unknown) => end(undefined, error),
    ),
    idle,
    abort: () => controller.abort(aborted),
    kill: () => {
      operations.dead = true
      ended = true
      controller.abort(aborted)
    },
    excused: () => operations.thrown.some(({ excused, injected }) => excused && !injected),
    outcome: () => words,
    lastRead: route.lastRead,
    isClosed: () => route.opened.every(({ closed }) => closed > 0),
    checkAfter: () => {
      if (ended && sleeping > 0) model.violate('Y1', `a bridge that has ended left ${sleeping} timers behind`)
      checkClosed()
    },
  }
}
