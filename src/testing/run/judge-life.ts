import { getEventListeners } from 'node:events'
import { codeOf, isRetriable, messageOf, type RunError } from '../../core/errors.ts'
import type { RunResult } from '../../core/run.ts'
import type { Life, Thrown } from './life.ts'

/** How what is under test ended. */
export type LifeOutcome = { readonly result: RunResult } | { readonly error: unknown }

/** Looks at the end of a life: how it was told, what is saved, what is left. */
export function judgeLife(
  life: Life,
  outcome: LifeOutcome,
  { supervised = false }: { readonly supervised?: boolean } = {},
): void {
  life.settled = true
  if (life.dead) return
  const { world, thrown } = life
  const { violate } = world
  if (life.handling > 0) violate('L11', 'expected the run to wait for the handler, but it ends while one is at work')
  if (life.saving > 0) violate('L7', 'expected the run to wait for the save, but it ends while one is under way')
  if (life.sleeping > 0) violate('Y1', 'expected no timer to be left, but something still sleeps')
  if (!supervised && getEventListeners(life.controller.signal, 'abort').length > 0)
    violate('Y1', 'expected no listener to be left on the signal')
  if (life.started === 'yes' && life.stops !== 1)
    violate('L8', 'expected the consumer to be stopped, since it was started, but it is not')
  if (thrown.some(({ recoverable }) => recoverable))
    violate('L3', 'expected recover to be asked about what the handler threw, but it is not')
  if (life.toldSaves < life.saves) violate('V3', 'expected the observer to be told of each save, but of one it is not')
  if (life.plan.wrong !== undefined) judgeWrong(life, outcome)
  else if ('error' in outcome) judgeError(life, outcome.error)
  else judgeResult(life, outcome.result)
  judgeSaved(life)
  judgeHaste(life)
  const failed = thrown.find(({ on, afterAbort }) => !afterAbort && (on === 'handle' || on === 'background'))
  if (failed !== undefined) world.failedAt = failed.eventId === undefined ? life.outstanding[0] : Number(failed.eventId)
}

function judgeError(life: Life, error: unknown): undefined {
  const { thrown, world, streamEnded } = life
  const violate = world.violate
  const before = thrown.filter(({ afterAbort }) => !afterAbort)
  const { cause, stage, consumer, eventId, code, retriable } = (error ?? {}) as Partial<RunError>
  if (before.length === 0 && streamEnded !== 'broken') {
    if (life.aborted)
      return violate(
        'L11',
        `expected { reason: 'aborted' }, with what was thrown after the abort as its error, but it rejects: ${messageOf(error)}`,
      )
    return violate('L3', `expected no failure, since nothing failed, but it rejects: ${messageOf(error)}`)
  }
  const first = before[0]
  const hard = before.find(({ on }) => on !== 'read')
  const match = [first, hard].find((each) => each !== undefined && each.error === cause)
  if (match === undefined) {
    if (streamEnded === 'broken' && hard === undefined) {
      if (code !== 'STREAM_ENDED' || stage !== 'receive')
        violate(
          'L13',
          `expected STREAM_ENDED of stage receive, but it rejects with ${String(code)} of stage ${String(stage)}: ${messageOf(error)}`,
        )
      return undefined
    }
    return violate(
      'L3',
      `expected a RunError whose cause is the first error, ${say(hard ?? first)}, but it rejects with ${messageOf(error)}`,
    )
  }
  const expected: Partial<RunError> = {
    stage: match.stage,
    consumer: 'c',
    eventId: match.eventId,
    code: codeOf(cause) ?? `${match.stage.toUpperCase()}_FAILED`,
    retriable: isRetriable(cause),
  }
  const found = { stage, consumer, eventId, code, retriable }
  for (const [name, value] of Object.entries(expected)) {
    const other = found[name as keyof typeof found]
    if (other !== value)
      violate(
        'L3',
        `expected a RunError for ${say(match)} with ${name} ${String(value)}, but its ${name} is ${String(other)}`,
      )
  }
}

function judgeResult(life: Life, { reason, cursor, error }: RunResult): undefined {
  const { thrown, world, plan, streamEnded } = life
  const violate = world.violate
  const hard = thrown.find(({ afterAbort, on }) => !afterAbort && (on !== 'read' || !life.aborted))
  if (hard !== undefined)
    return violate(
      hard.on === 'set' ? 'L6' : 'L3',
      `expected the run to fail with ${say(hard)}, but it ends with reason ${reason}`,
    )
  if (reason === 'aborted') {
    if (!life.aborted) return violate('L11', "expected no reason 'aborted', since nobody aborted it")
    const late = thrown.find(({ afterAbort, on }) => afterAbort && on !== 'read' && on !== 'get' && on !== 'open')
    const isKnown = error === undefined || thrown.some((each) => each.error === error)
    if (late !== undefined ? error !== late.error : !isKnown)
      violate(
        'L11',
        `expected what was thrown after the abort as error, ${late === undefined ? 'nothing' : say(late)}, but found ${messageOf(error)}`,
      )
  } else {
    if (streamEnded === 'broken' || (plan.endless === true && streamEnded === 'no'))
      return violate(
        'L13',
        'expected a run without toHead to fail with STREAM_ENDED when its stream ends, but it ends at the head',
      )
    if (streamEnded === 'no') return violate('L13', 'expected the run to end at the head, but it ends before')
    if (life.aborted && streamEnded !== 'head') violate('L11', "expected reason 'aborted', but it is 'head'")
    const left = plan.handling === 'background' && life.outstanding.length > 0
    if (streamEnded === 'head' && life.saved < life.head && life.head > 0 && !left && !life.aborted)
      violate(
        'L9',
        `expected the cursor at the head, ${life.head}, when that is reached, but ${life.known === '' ? 'none' : life.known} is saved`,
      )
  }
  const known = [life.known, life.unknown, ...(life.saves === 0 && life.opens === 0 ? [''] : [])]
  if (!known.includes(cursor))
    violate(
      'L7',
      `expected the result to name the cursor that is stored, ${JSON.stringify(life.known)}, but it names ${JSON.stringify(cursor)}`,
    )
}

/** A mistake of the program is refused before anything is done. */
function judgeWrong({ plan, world, operations, aborted }: Life, outcome: LifeOutcome): void {
  if (aborted) return
  const { code, retriable } = ('error' in outcome ? outcome.error : {}) as Partial<RunError>
  if (code !== 'OPTION_INVALID' || retriable !== false)
    world.violate(
      'L21',
      `expected ${plan.wrong} to be refused with OPTION_INVALID, not retriable, but found ${String(code)}`,
    )
  if (operations > 0) world.violate('L21', `expected ${plan.wrong} to be refused before anything is done`)
}

/** An abort is acted on at once: only the handler is waited for, and what it is given is its own affair. */
function judgeHaste({ aborted, abortedAt, world, plan, sim }: Life): void {
  if (!aborted || abortedAt === 0 || world.crowded || plan.hooks || plan.handling === 'background') return
  const took = sim.clock.now() - abortedAt - (plan.handlerMs ?? 0)
  if (took > 50) world.violate('L11', `expected the run to end within 50 ms of the abort, but it takes ${took} ms`)
}

/** What is done is saved on the way out. */
function judgeSaved(life: Life): void {
  const { world, doneTo, saved } = life
  if (life.opens === 0 || life.saveFailed || life.conflict || life.unknown !== undefined) return
  if (doneTo > saved && doneTo > (life.start ?? 0))
    world.violate(
      'L7',
      `expected the cursor at ${doneTo} when the run has ended, since event ${doneTo} is handled, but ${life.known === '' ? 'none' : life.known} is saved`,
    )
}

function say(thrown: Thrown | undefined): string {
  return thrown === undefined ? 'nothing' : `"${messageOf(thrown.error)}"`
}
