import { codeOf, messageOf, type RunError } from '../../core/errors.ts'
import type { RunResult } from '../../core/run.ts'
import { run as coreRun } from '../../core/run.ts'
import { supervise as coreSupervise } from '../../core/supervise.ts'
import type { Suite } from '../conformance/property.ts'
import type { Steps } from '../conformance/steps.ts'
import { describeOrder, describePlan } from './describe-plan.ts'
import type { LifeOutcome } from './judge-life.ts'
import { playLives } from './play-lives.ts'
import { playSupervise, playSupervisedRun } from './play-supervised.ts'
import type { RunCommand } from './run-command.ts'
import { runProperties } from './run-properties.ts'
import type { RunSubject } from './run-subject.ts'
import { runWorld, type World } from './run-world.ts'

/** What a run loop and a supervisor have to keep to, over a simulated log and store, in virtual time. */
export const runSuite: Suite<RunSubject, RunCommand> = {
  properties: runProperties,
  play: async ({ run = coreRun, supervise = coreSupervise }, schedule, steps) => {
    const world = runWorld()
    for (const command of schedule) {
      await play(world, command, { run, supervise, steps })
      if (world.violation !== undefined) throw world.violation
    }
    await quiesce(world, run, steps)
  },
}

async function play(
  world: World,
  command: RunCommand,
  { run, supervise, steps }: { run: typeof coreRun; supervise: typeof coreSupervise; steps: Steps },
): Promise<void> {
  switch (command.do) {
    case 'recreate':
      steps.step('delete the log, and make it again')
      return world.recreate()
    case 'rewind':
      return steps.step(world.rewind(command.event))
    case 'run':
      steps.step(`run ${describePlan(command.life)}${describeOrder(command)}`)
      return steps.result(
        describeOutcome(world, await playLives(world, run, { plans: [command.life], order: command.order })),
      )
    case 'run both': {
      const { life, rival, order } = command
      steps.step(`run ${describePlan(life)}; and at the same time run ${describePlan(rival)}${describeOrder(command)}`)
      await playLives(world, run, { plans: [life, rival], order })
      return steps.result(`the cursor is ${JSON.stringify(world.stored)}`)
    }
    case 'supervise run':
      steps.step(
        `supervise, with ${command.random} for random(), ${command.lives.map((plan, i) => `attempt ${i + 1}: ${describePlan(plan)}`).join('; ')}${describeOrder(command)}`,
      )
      return steps.result(await playSupervisedRun(world, { run, supervise }, command))
    case 'supervise': {
      const { attempts, random, abortAfterMs, graceMs } = command
      const words = attempts.map(
        ({ ends, ms, progress, deaf }) =>
          `${ends}${ms ? ` after ${ms} ms` : ''}${progress ? ', having saved' : ''}${deaf ? ', deaf to an abort' : ''}`,
      )
      steps.step(
        `supervise, with ${random} for random(), attempts: ${words.join('; ')}${abortAfterMs === undefined ? '' : `; aborted after ${abortAfterMs} ms`}${graceMs === undefined ? '' : ` with graceMs ${graceMs}`}`,
      )
      return steps.result(await playSupervise(world, supervise, command))
    }
    default:
      return steps.step(world.happen(command))
  }
}

/** In the end, with no faults any more: everything is handled. */
async function quiesce(world: World, run: typeof coreRun, steps: Steps): Promise<void> {
  world.flush()
  steps.step('run to the head, with no faults any more')
  let outcome = await playLives(world, run, { plans: [{}] })
  if (outcome !== undefined && 'error' in outcome && codeOf(outcome.error)?.startsWith('CURSOR_')) {
    steps.result(describeOutcome(world, outcome))
    steps.step(`${world.happen({ do: 'reset', cursor: 0 })}, and run to the head`)
    outcome = await playLives(world, run, { plans: [{}] })
  }
  steps.result(describeOutcome(world, outcome))
  if (outcome === undefined || 'error' in outcome)
    world.violate(
      'L1',
      `expected a run with no faults to end at the head, but found ${describeOutcome(world, outcome)}`,
    )
  for (let p = world.base + 1; p <= world.head(); p++) {
    if (world.entries[p] !== undefined && !world.done[p] && !world.excused[p])
      world.violate('L1', `expected every event to be handled, but event ${p} never was`)
  }
  if (world.violation !== undefined) throw world.violation
}

function describeOutcome(world: World, outcome: LifeOutcome | undefined): string {
  const stored = `the cursor is ${JSON.stringify(world.stored)}`
  if (outcome === undefined) return `crashed; ${stored}`
  if ('error' in outcome) {
    const { stage, eventId, cause } = (outcome.error ?? {}) as Partial<RunError>
    const at = eventId === undefined ? '' : ` at event ${eventId}`
    return `fails in stage ${String(stage)}${at}: ${messageOf(cause ?? outcome.error)}; ${stored}`
  }
  const { reason, error } = outcome.result as Partial<RunResult>
  return `ends, ${String(reason)}${error === undefined ? '' : `, with ${messageOf(error)}`}; ${stored}`
}
