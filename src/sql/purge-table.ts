import { breather } from '../core/breather.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { CursorAheadError, CursorTrimmedError, OptionError, type ReflexError } from '../core/errors.ts'
import { cursorOf, type Holder, listHolders, type PurgeHolders } from './purge-holders.ts'
import type { Purged } from './table-reader.ts'

/** Options of `purge`. */
export interface PurgeOptions extends PurgeHolders {
  /** Rows younger than this stay, and all that follow them, in ms, by their timestamps and the server's clock. Default: 0. */
  readonly keepMs?: number | undefined
  /** The most rows that one transaction deletes; fewer where that many take long. Default: 1,000. */
  readonly stepRows?: number | undefined
  /** The pause between two of them, in ms. Default: 10. */
  readonly pauseMs?: number | undefined
  /** Only says what would be deleted. Default: false. */
  readonly dryRun?: boolean | undefined
  /** Is told after each step. Must not throw. */
  readonly onProgress?: ((progress: PurgeProgress) => void) | undefined
  /** Ends it at once. What has been deleted until then stays so, and the next purge goes on from there. */
  readonly signal?: AbortSignal | undefined
}

/** How far a purge is. */
export interface PurgeProgress {
  /** How many rows were deleted, or would be. */
  readonly removed: number
  /** The id of the last of them; "0" if there is none. */
  readonly to: string
}

/** What a purge has done, or would do. */
export interface PurgeResult extends PurgeProgress {
  /** The consumer that has read least: nothing behind that was deleted. */
  readonly heldBy: string
}

/** An event table, as far as a purge needs it. */
export interface PurgeTable {
  /** What a step may take before the next one is made smaller, in ms. */
  readonly stepMs: number
  /** What was recorded last. */
  purged(): Promise<Purged | undefined>
  /** The newest id; 0 if there is no row. Read after the call. */
  newest(): Promise<bigint>
  /** Which of these ids are of rows. */
  existing(ids: readonly bigint[]): Promise<ReadonlySet<bigint>>
  /** The first `limit` rows with `id > after`, in the order of their ids. */
  rows(after: bigint, limit: number): Promise<readonly { readonly id: bigint; readonly isYoung: boolean }[]>
  /**
   * Records `purged` durably, unless as much or more is recorded; then deletes the rows with `after < id <= purged.to` in a
   * transaction that no writer waits for, and returns how many they were.
   */
  take(after: bigint, purged: Purged): Promise<number>
}

const FIRST_STEP = 50
const GROWTH = 4
/** So often a consumer may have moved on, and a purge beside this one behind it, while its row was looked for. */
const ATTEMPTS = 5

/**
 * Deletes rows as far as every consumer has read them, in steps. The row of each cursor stays, and so does the newest one: a
 * consumer is proven with its own. Who has read less than it should have is found out first: nothing is deleted then.
 */
export async function purgeTable(
  name: string,
  table: PurgeTable,
  options: PurgeOptions,
  clock: Clock = systemClock,
): Promise<PurgeResult> {
  const { stepRows = 1000, pauseMs = 10, dryRun = false, onProgress, signal } = options
  const end = await table.newest() // what comes later is of the next purge, or this one might never end
  const breathe = breather(clock)
  let removed = 0
  let to = 0n
  for (let step = dryRun ? stepRows : Math.min(FIRST_STEP, stepRows); ; ) {
    signal?.throwIfAborted()
    const least = await leastHolder(name, table, options)
    const rows = await table.rows(to, step + 1)
    const stays = rows.findIndex(
      ({ id, isYoung }, index) => isYoung || id >= least.id || id >= end || index === rows.length - 1,
    )
    const next = rows[stays]
    const last = rows[stays - 1]
    if (next === undefined || last === undefined) return { removed, to: String(to), heldBy: least.name }
    const startedAt = performance.now()
    removed += dryRun ? stays : await table.take(to, { to: last.id, next: next.id })
    to = last.id
    onProgress?.({ removed, to: String(to) })
    if (dryRun) {
      await breathe()
      continue
    }
    const factor = Math.min(GROWTH, table.stepMs / Math.max(1, performance.now() - startedAt))
    step = Math.max(1, Math.min(stepRows, Math.floor(step * factor)))
    await clock.sleep(pauseMs, signal)
  }
}

/** Refuses options that are out of their range. */
export function checkPurgeOptions(name: string, { keepMs = 0, stepRows = 1, pauseMs = 0 }: PurgeOptions): void {
  for (const [option, value, least] of [
    ['keepMs', keepMs, 0],
    ['stepRows', stepRows, 1],
    ['pauseMs', pauseMs, 0],
  ] as const) {
    if (!Number.isSafeInteger(value) || value < least)
      throw new OptionError(`${name}: ${option} must be an integer from ${least} on, but is ${value}`)
  }
}

/** The consumer that has read least. Throws if one of them is not where the table can be read on from. */
async function leastHolder(name: string, table: PurgeTable, options: PurgeOptions): Promise<Holder> {
  for (let attempt = 1; ; attempt++) {
    const holders = await listHolders(name, options)
    const lost = await findLost(name, table, holders)
    if (lost === undefined) return holders[0]
    const now = await listHolders(name, options)
    const isSame = now.some((each) => each.name === lost.holder.name && each.cursor === lost.holder.cursor)
    if (isSame || attempt === ATTEMPTS) throw lost.error
  }
}

/** A consumer that a stream would be refused to. */
async function findLost(
  name: string,
  table: PurgeTable,
  holders: readonly Holder[],
): Promise<{ readonly holder: Holder; readonly error: ReflexError } | undefined> {
  const purged = await table.purged()
  const ids = [...new Set(holders.map(({ id }) => id))].filter((id) => id > 0n)
  const existing = await table.existing(purged === undefined ? ids : [...ids, purged.next])
  for (const holder of holders) {
    const { id } = holder
    if (id === 0n || existing.has(id) || (purged?.to === id && existing.has(purged.next))) continue
    const found = await table.newest()
    const where = cursorOf(name, holder.name)
    const cursor = String(id)
    const error =
      id > found
        ? new CursorAheadError(where, { cursor, reason: 'beyond', found: String(found) })
        : new CursorTrimmedError(where, { cursor })
    return { holder, error }
  }
  return undefined
}
