import { CursorConflictError, CursorTrimmedError, FencedError, RunError } from '../../core/errors.ts'
import type { run as coreRun, Ended } from '../../core/run.ts'
import type { AttemptOptions, supervise as coreSupervise } from '../../core/supervise.ts'
import { judgeLife } from './judge-life.ts'
import { type Life, never, newLife } from './life.ts'
import { finish, nextSimulation, runLife } from './play-lives.ts'
import type { RunCommand, ScriptedAttempt } from './run-command.ts'
import type { World } from './run-world.ts'
import { type Supervised, supervised } from './supervised.ts'

/** A supervised run: attempt after attempt, as long as they fail with what may pass. Resolves with how it ended, in words. */
export async function playSupervisedRun(
  world: World,
  { run, supervise }: { run: typeof coreRun; supervise: typeof coreSupervise },
  { lives: plans, random, order }: Extract<RunCommand, { readonly do: 'supervise run' }>,
): Promise<string> {
  const sim = nextSimulation(world, order)
  const controller = new AbortController()
  const watch = supervised(world, sim, { random, graceMs: 10_000, controller })
  const lives: Life[] = []
  const died = Promise.withResolvers<void>()
  const attempt = async (options: AttemptOptions): Promise<Ended> => {
    watch.begins(options.signal)
    const life = newLife(world, sim, plans[lives.length] ?? {}, controller)
    lives.push(life)
    void life.died.promise.then(died.resolve)
    const over = (outcome: { result: Ended & { cursor: string } } | { error: unknown }): undefined | Promise<never> => {
      if (life.dead) return never()
      judgeLife(life, outcome, { supervised: true })
      if (life.saveFailed) world.mayRepeat()
      watch.ends(outcome, life.saves > 0)
    }
    try {
      const result = await runLife(life, run, { signal: options.signal, observer: options.observer })
      await over({ result })
      return result
    } catch (error) {
      await over({ error })
      throw error
    }
  }
  const words = await settle(world, watch, { sim, supervise, attempt, lives, died: died.promise })
  if (lives.at(-1)?.dead) {
    world.mayRepeat()
    return 'crashed'
  }
  return `${words} after ${lives.length} attempts`
}

/** A supervisor of attempts that do what the command says. */
export async function playSupervise(
  world: World,
  supervise: typeof coreSupervise,
  { attempts, random, abortAfterMs, graceMs = 10_000 }: Extract<RunCommand, { readonly do: 'supervise' }>,
): Promise<string> {
  const sim = nextSimulation(world, undefined)
  const watch = supervised(world, sim, { random, graceMs, controller: new AbortController() })
  const attempt = (options: AttemptOptions): Promise<Ended> => {
    watch.begins(options.signal)
    const script: ScriptedAttempt = attempts[watch.attempts() - 1] ?? { ends: 'head' }
    if (script.ends === 'throws') {
      const error = new Error('the attempt throws')
      watch.ends({ error }, false)
      throw error
    }
    return perform(script, options)
  }
  async function perform(
    { ends, progress = false, ms = 0, deaf = false }: ScriptedAttempt,
    options: AttemptOptions,
  ): Promise<Ended> {
    const over = (result: Ended): Ended => {
      watch.ends({ result }, progress)
      return result
    }
    if (progress) options.observer.saved?.('5')
    try {
      if (ms > 0) await sim.clock.sleep(ms, deaf ? undefined : options.signal)
    } catch {
      return over({ reason: 'aborted' })
    }
    if (ends === 'hangs') return never()
    if (ends === 'head') return over({ reason: 'head' })
    const error = errorOf(ends)
    watch.ends({ error }, progress)
    throw error
  }
  const hangs = attempts.some(({ ends }) => ends === 'hangs')
  const abortAt = abortAfterMs ?? (hangs ? 3_600_000 : undefined)
  if (abortAt !== undefined) void sim.clock.sleep(abortAt).then(watch.abort)
  const words = await settle(world, watch, { sim, supervise, attempt, lives: [], died: never(), graceMs })
  return `${words} after ${watch.attempts()} attempts`
}

async function settle(
  world: World,
  watch: Supervised,
  o: {
    readonly sim: Parameters<typeof finish>[1]
    readonly supervise: typeof coreSupervise
    readonly attempt: (options: AttemptOptions) => Promise<Ended>
    readonly lives: readonly Life[]
    readonly died: Promise<unknown>
    readonly graceMs?: number
  },
): Promise<string> {
  let words = 'ends'
  const { signal, clock, random } = watch
  const ended = async (): Promise<void> => {
    try {
      const result = await o.supervise(o.attempt, {
        signal,
        clock,
        random,
        ...(o.graceMs === undefined ? {} : { graceMs: o.graceMs }),
      })
      words = `ends, reason ${result.reason}`
      watch.settles({ result })
    } catch (error) {
      words = `rejects: ${String((error as { code?: unknown }).code ?? error)}`
      watch.settles({ error })
    }
  }
  await finish(world, o.sim, Promise.race([ended(), o.died]), o.lives, () => watch.stuck())
  return words
}

function errorOf(ends: ScriptedAttempt['ends']): Error {
  switch (ends) {
    case 'fails for good':
      return new RunError('open', { consumer: 'c', cause: new CursorTrimmedError('log', { cursor: '5' }) })
    case 'conflict':
    case 'reset': {
      const cause = new CursorConflictError({ consumer: 'c', expected: '1', actual: '2', reset: ends === 'reset' })
      return new RunError('commit', { consumer: 'c', cause })
    }
    case 'fenced':
      return new RunError('handle', { consumer: 'c', cause: new FencedError('another writer took over') })
    default:
      return new Error('the attempt fails')
  }
}
