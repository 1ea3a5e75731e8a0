import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { ReflexError } from '../../core/errors.ts'
import { type HeldLease, holdLease } from '../../core/hold-lease.ts'
import type { Config, RouteConfig } from '../config/parse-config.ts'
import { type OpenControl, openControl } from './open-control.ts'
import { processName } from './process-name.ts'

/** Options of `whileStopped`. */
export interface WhileStoppedOptions {
  readonly signal: AbortSignal
  /** As in the configuration: with it, every process that runs the route has its lease. */
  readonly standby: Config['standby']
  /** A table of leases that is missing is created. */
  readonly createTables: boolean
  /** Is told what it waits for. Must not throw. */
  readonly onWait?: ((text: string) => void) | undefined
}

/** A process that is alive looks at what is wanted about twice a second. In ms, of this machine's time alone. */
const ANSWERED_WITHIN_MS = 1500
/** What is under way when it is told to stop may take so long to be confirmed. In ms. */
const OBEYED_WITHIN_MS = 12_000
const ASK_EVERY_MS = 150

/**
 * Does `work` while no process runs the route. With standby it has the route's lease meanwhile; the work gets a signal that aborts
 * when that is lost. Else an operator must have stopped the route, since nothing else tells whether a process runs it; every process
 * that is alive is asked whether it has obeyed, and waited for. Throws `ROUTE_AT_WORK` otherwise.
 */
export async function whileStopped<T>(
  route: RouteConfig,
  { signal, standby, createTables, onWait }: WhileStoppedOptions,
  work: (held: Pick<HeldLease, 'signal' | 'check'>) => Promise<T>,
): Promise<T> {
  await using control = await openControl(route, { createTables, readOnly: false })
  const { leases, leaseName } = control
  if (standby === undefined || leases === undefined) {
    await untilStopped(control, route, { signal, onWait })
    return await work({ signal, check: () => {} })
  }
  if (createTables) await leases.createTable()
  const spec = { leases, name: leaseName, holder: processName, ttlMs: standby.leaseMs }
  let done: { readonly result: T } | undefined
  await holdLease(
    spec,
    async (held) => {
      done = { result: await work(held) }
    },
    { signal, once: true },
  )
  if (done !== undefined) return done.result
  const holder = (await leases.get(leaseName, { signal }))?.holder ?? 'another process'
  throw atWork(route, `${holder} has its lease`)
}

/** Each process that is alive says whether it has obeyed. One that has lost the store, or stands still, is fenced by the work. */
async function untilStopped(
  control: OpenControl,
  route: RouteConfig,
  { signal, onWait = () => {} }: Pick<WhileStoppedOptions, 'signal' | 'onWait'>,
): Promise<void> {
  const notStopped = 'it is not stopped, and a process may run it'
  if ((await control.read({ signal }))?.wanted !== 'stopped') throw atWork(route, notStopped)
  const id = randomUUID()
  await control.ask(id, 'stopped')
  const askedAt = performance.now()
  let told = ''
  for (;;) {
    const { wanted, ask } = (await control.read({ signal })) ?? {}
    if (wanted !== 'stopped') throw atWork(route, notStopped)
    if (ask?.id !== id) throw atWork(route, 'another command is at work on it, or somebody has stopped it again')
    const busy = ask.answers.flatMap(({ by, obeys }) => (obeys ? [] : [by]))
    const waitedMs = performance.now() - askedAt
    if (busy.length === 0 && waitedMs >= ANSWERED_WITHIN_MS) return
    if (waitedMs >= OBEYED_WITHIN_MS) throw atWork(route, `${busy.join(', ')} has been told to stop, and has not yet`)
    const whom =
      busy.length === 0 ? 'every process that runs it, to say that it has stopped' : `${busy.join(', ')} to stop`
    if (whom !== told) onWait(`${route.name}: waiting for ${whom}`)
    told = whom
    await sleep(ASK_EVERY_MS, undefined, { signal })
  }
}

function atWork({ name }: RouteConfig, why: string): ReflexError {
  return new ReflexError(
    'ROUTE_AT_WORK',
    `the route ${name} is left as it is: ${why}. Stop it first (reflex-bridge stop CONFIG ${name}), and afterwards resume it.`,
    { retriable: false },
  )
}
