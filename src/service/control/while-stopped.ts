import { setTimeout as sleep } from 'node:timers/promises'
import { ReflexError } from '../../core/errors.ts'
import { type HeldLease, holdLease } from '../../core/hold-lease.ts'
import type { Config, RouteConfig } from '../config/parse-config.ts'
import type { ControlRecord } from './control-record.ts'
import { type OpenControl, openControl } from './open-control.ts'
import { processName } from './process-name.ts'

/** Options of `whileStopped`. */
export interface WhileStoppedOptions {
  readonly signal: AbortSignal
  /** As in the configuration: with it, every process that runs the route has its lease. */
  readonly standby: Config['standby']
  /** A table of leases that is missing is created. */
  readonly createTables: boolean
}

/** What an operator wants is obeyed within a second; what is under way may then take so long to be confirmed. In ms. */
const OBEYED_WITHIN_MS = 12_000
const ASK_EVERY_MS = 300

/**
 * Does `work` while no process runs the route. With standby it has the route's lease meanwhile; the work gets a signal that aborts
 * when that is lost. Else an operator must have stopped the route, since nothing else tells whether a process runs it; one that has
 * not obeyed yet is waited for. Throws `ROUTE_AT_WORK` otherwise.
 */
export async function whileStopped<T>(
  route: RouteConfig,
  { signal, standby, createTables }: WhileStoppedOptions,
  work: (held: Pick<HeldLease, 'signal' | 'check'>) => Promise<T>,
): Promise<T> {
  await using control = await openControl(route, { createTables, readOnly: false })
  const { leases, leaseName } = control
  if (standby === undefined || leases === undefined) {
    await untilStopped(control, route, signal)
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

async function untilStopped(control: OpenControl, route: RouteConfig, signal: AbortSignal): Promise<void> {
  for (;;) {
    const record = await control.read({ signal })
    if (record?.wanted !== 'stopped') throw atWork(route, 'it is not stopped, and a process may run it')
    if (record.obeyed !== undefined || isLongAgo(record)) return
    await sleep(ASK_EVERY_MS, undefined, { signal })
  }
}

function isLongAgo({ at }: ControlRecord): boolean {
  return !(Math.abs(Date.now() - Date.parse(at)) < OBEYED_WITHIN_MS)
}

function atWork({ name }: RouteConfig, why: string): ReflexError {
  return new ReflexError(
    'ROUTE_AT_WORK',
    `the route ${name} is left as it is: ${why}. Stop it first (reflex-bridge stop CONFIG ${name}), and afterwards resume it.`,
    { retriable: false },
  )
}
