import { messageOf } from '../../core/errors.ts'
import type { Observer } from '../../core/observer.ts'
import type { run as coreRun, RunOptions, RunResult } from '../../core/run.ts'
import { type Simulation, Stuck, simulation } from '../simulation/simulation.ts'
import { judgeLife, type LifeOutcome } from './judge-life.ts'
import { type Life, newLife } from './life.ts'
import { lifeConsumer } from './life-consumer.ts'
import { lifeStore } from './life-store.ts'
import { abortInAnHour, lifeStream } from './life-stream.ts'
import type { LifePlan } from './run-command.ts'
import type { World } from './run-world.ts'

/** A simulation that goes on where the last one ended. */
export function nextSimulation(world: World, order: readonly number[] | undefined): Simulation {
  const sim = simulation(order)
  sim.jump(world.elapsed() - sim.clock.now())
  world.elapsed = sim.clock.now
  return sim
}

/** Runs what is under test, as one process does; resolves when it has ended, or has crashed. */
export function runLife(
  life: Life,
  run: typeof coreRun,
  { signal, observer }: Pick<RunOptions, 'signal' | 'observer'>,
): Promise<RunResult> {
  const { endless = false, fromHead, wrong } = life.plan
  const consumer = lifeConsumer(life)
  if (wrong === 'types') Object.assign(consumer, { types: [1.5] })
  if (wrong === 'name') Object.assign(consumer, { name: '' })
  if (endless) void abortInAnHour(life)
  const watch: Observer = {
    saved: (cursor) => {
      observer?.saved?.(cursor)
      if (life.dead) return
      life.toldSaves++
      if (life.known !== cursor || life.saves < life.toldSaves)
        life.world.violate('V3', `expected the observer to be told of what is saved, but it is told that ${cursor} is`)
    },
  }
  return run(
    { stream: lifeStream(life), cursors: lifeStore(life), consumer },
    {
      toHead: !endless,
      fromHead,
      delayMs: wrong === 'delayMs' ? -1 : life.plan.delayMs,
      signal,
      observer: observer === undefined ? watch : { ...observer, ...watch },
      clock: life.clock,
    },
  )
}

/** Takes one process, or two at the same time, through their lives. */
export async function playLives(
  world: World,
  run: typeof coreRun,
  { plans, order }: { plans: readonly LifePlan[]; order?: readonly number[] | undefined },
): Promise<LifeOutcome | undefined> {
  const sim = nextSimulation(world, order)
  const lives = plans.map((plan) => newLife(world, sim, plan))
  world.crowded = lives.length > 1
  let outcome: LifeOutcome | undefined
  const ends = lives.map(async (life) => {
    try {
      outcome = { result: await runLife(life, run, { signal: life.controller.signal }) }
    } catch (error) {
      outcome = { error }
    }
    judgeLife(life, outcome)
  })
  const work = lives.map((life, i) => Promise.race([ends[i], life.died.promise]))
  await finish(world, sim, Promise.all(work), lives)
  world.crowded = false
  if (lives.length > 1 || lives.some(({ dead, saveFailed }) => dead || saveFailed)) world.mayRepeat()
  return lives[0]?.dead ? undefined : outcome
}

/** Lets the world go on until all lives are over, or a property is broken. */
export async function finish(
  world: World,
  sim: Simulation,
  work: Promise<unknown>,
  lives: readonly Life[],
  stuck?: () => string,
): Promise<void> {
  try {
    await sim.run(Promise.race([work, world.violated]))
  } catch (error) {
    if (!(error instanceof Stuck)) throw error
    const left = lives.find(({ settled, dead }) => !settled && !dead)
    if (left?.aborted) world.violate('L11', `expected the run to end when it is aborted, but ${messageOf(error)}`)
    else if (left?.over !== undefined)
      world.violate('L3', `expected the run to end, since ${left.over}, but ${messageOf(error)}`)
    else world.violate(stuck?.() ?? 'L13', `expected it to end, but ${messageOf(error)}`)
  }
  if (world.violation !== undefined) throw world.violation
  if (lives.some(({ opens, closes, dead }) => opens !== closes && !dead)) await sim.settle()
  for (const { opens, closes, dead } of lives)
    if (!dead && opens !== closes) world.violate('Y1', 'expected the stream to be closed, but it is left open')
  if (world.violation !== undefined) throw world.violation
}
