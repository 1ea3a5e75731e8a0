import { errorKind, ReflexError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import type { ErrorKind, LifeCommand, Operation } from './bridge-command.ts'
import type { RoutePlay } from './route-play.ts'

/** What an operation threw at the bridge. */
export interface Thrown {
  readonly operation: Operation
  readonly error: unknown
  /** The suite made it. */
  readonly injected: boolean
  /** It was to be expected of what the schedule did before. */
  readonly excused: boolean
  readonly beforeAbort: boolean
  /** What was to be appended. */
  readonly events: readonly Event[]
}

/** What can be done about an operation beside it. */
export interface OperationOptions<T> {
  /** Undoes what nobody will receive. */
  readonly drop?: ((result: T) => PromiseLike<void>) | undefined
  /** Does half of it. */
  readonly half?: (() => Promise<unknown>) | undefined
  /** It may take effect twice. */
  readonly mayRepeat?: boolean | undefined
  readonly excuses?: ((error: unknown) => boolean) | undefined
  readonly events?: readonly Event[] | undefined
}

/** What a process asks of the parts of its route, with the fault that its plan has. */
export interface FaultyOperations {
  readonly thrown: readonly Thrown[]
  /** The process is dead: it has no effect any more. */
  dead: boolean
  /** The bridge has ended. */
  settled: boolean
  /** Appends that were confirmed, and whose checkpoint was not. */
  unsaved: number
  readonly signal: AbortSignal
  run<T>(operation: Operation, effect: () => Promise<T>, options?: OperationOptions<T>): Promise<T>
}

const none: readonly Event[] = []
const crash = new Error('the process is dead')
/** What every process is aborted with. */
export const aborted: Error = new Error('the process is to end')

/** Makes them for one process. */
export function faultyOperations(play: RoutePlay, plan: LifeCommand, controller: AbortController): FaultyOperations {
  const { world, model } = play
  const { signal } = controller
  const counts: Record<Operation, number> = { get: 0, 'open sink': 0, 'open source': 0, read: 0, append: 0, save: 0 }
  const thrown: Thrown[] = []
  const self: FaultyOperations = { thrown, dead: false, settled: false, unsaved: 0, signal, run }

  function toss(
    operation: Operation,
    error: unknown,
    injected: boolean,
    { excuses, events = none }: OperationOptions<never>,
  ): never {
    const excused = injected || excuses?.(error) === true
    thrown.push({ operation, error, injected, excused, beforeAbort: !signal.aborted, events })
    if (operation === 'append') model.blame.failedAppend = true
    throw error
  }
  /**
   * After a first error nothing more is to be asked, save what was under way when a read failed, and what stands before an event
   * that the destination refuses.
   */
  function checkBegin(operation: Operation, events: readonly Event[]): void {
    const failed = thrown.find((each) => each.operation !== 'read' && !isRefusal(each))
    if (failed !== undefined && operation !== 'read')
      model.violate(
        'B6',
        `"${failed.operation}" failed, which should have ended the bridge, but "${operation}" followed`,
      )
    if (operation !== 'append' || events.length === 0) return
    if (signal.aborted) model.violate('B14', `event ${events[0]?.id} was appended after the bridge was aborted`)
    if (self.settled) model.violate('B14', `event ${events[0]?.id} was appended after the bridge had ended`)
  }
  function later<T>(effect: () => Promise<T>, drop: OperationOptions<T>['drop']): void {
    const leave = world.join()
    const effecting = (async () => {
      for (let i = plan.later ?? 0; i >= 0; i--) await world.turn()
      play.disturbances++
      const result = await effect()
      await drop?.(result)
    })()
      .catch(() => {}) // whoever asked for it is no longer listening
      .finally(() => {
        leave()
        play.late.delete(effecting)
      })
    play.late.add(effecting)
  }

  async function run<T>(operation: Operation, effect: () => Promise<T>, options: OperationOptions<T> = {}): Promise<T> {
    if (self.dead) throw crash
    checkBegin(operation, options.events ?? none)
    const hit = counts[operation]++ === (plan.nth ?? 0) && plan.at === operation
    const fault = hit ? plan.fault : undefined
    const fail = (): never =>
      toss(operation, errors[plan.error ?? 'retriable'], true, options as OperationOptions<never>)
    switch (fault) {
      case 'crash before':
        self.dead = true
        throw crash
      case 'crash, late':
        self.dead = true
        later(effect, options.drop)
        throw crash
      case 'late':
        later(effect, options.drop)
        return fail()
      case 'abort, no answer':
        if (operation === 'append' || operation === 'save') break
        void world.turn().then(() => controller.abort(aborted))
        return new Promise<never>(() => {})
      case 'abort before':
        controller.abort(aborted)
    }
    await world.turn()
    if (self.dead) throw crash
    if (fault === 'refused') return fail()
    if (fault === 'partial') {
      await options
        .half?.()
        .catch((error: unknown) => toss(operation, error, false, options as OperationOptions<never>))
      return fail()
    }
    let result: T
    try {
      result = await effect()
      if (fault === 'twice' && options.mayRepeat) {
        await options.drop?.(result)
        result = await effect()
      }
    } catch (error) {
      if (self.dead) throw crash
      return toss(operation, error, false, options as OperationOptions<never>)
    }
    await world.turn()
    if (fault === 'crash after') self.dead = true
    if (fault === 'abort after') controller.abort(aborted)
    if (self.dead || fault === 'lost reply') {
      await options.drop?.(result)
      if (self.dead) throw crash
      return fail()
    }
    return result
  }
  return self
}

function isRefusal({ injected, error }: Thrown): boolean {
  return !injected && ['poison', 'oversize'].includes(errorKind(error))
}

/** Made once: a stack that says nothing would be most of what a schedule costs. */
const errors: Readonly<Record<ErrorKind, Error>> = {
  retriable: new ReflexError('UNAVAILABLE', 'not now: try again'),
  fatal: new ReflexError('BROKEN', 'this cannot work', { retriable: false }),
  auth: new ReflexError('NO_PERMISSION', 'this is not permitted', { retriable: false }),
  unknown: new Error('read ECONNRESET'),
}
