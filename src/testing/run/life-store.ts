import type { CursorStore } from '../../core/cursor.ts'
import type { Cursor } from '../../core/event.ts'
import { begin, die, elapsed, end, failure, type Life, never, nextWanted, note } from './life.ts'
import { positionOf } from './run-world.ts'

/** The store, as one process sees it. */
export function lifeStore(life: Life): CursorStore {
  const { world, sim, plan } = life
  const hooks = plan.hooks === true || plan.handling === 'background'
  return {
    get: async (_consumer, { signal } = {}) => {
      if (life.dead) return never()
      if (life.settled) world.violate('Y1', 'expected nothing to go on after the end, but the cursor is read')
      if (hooks && life.started !== 'yes')
        world.violate('L8', 'expected the consumer to be started before the cursor is read, but it is not')
      const how = begin(life, 'get')
      if (life.dead || how === 'abort, hangs') return never()
      if (signal?.aborted) throw signal.reason
      await sim.turn()
      if (life.dead) return never()
      if (failure(how) !== undefined) throw note(life, 'get', new Error('the store did not answer'))
      const cursor = world.stored
      await sim.turn()
      end(life, how)
      if (life.dead) return never()
      life.yieldedAt = elapsed(life)
      if (life.got === undefined) {
        life.got = cursor
        life.known = cursor
        life.saved = positionOf(cursor)
      } else if (life.unknown === cursor) {
        life.known = cursor
        life.unknown = undefined
        life.saved = positionOf(cursor)
      }
      return cursor
    },
    set: async (_consumer, cursor, expected) => {
      if (life.dead) return never()
      checkSave(life, cursor, expected)
      const how = begin(life, 'set')
      if (life.dead) return never()
      const unsavedSince = life.unsavedSince
      life.unsavedSince = undefined
      life.saving++
      life.unknown = cursor
      const failed = (error: unknown): unknown => {
        life.saving--
        life.saveFailed = true
        life.unsavedSince = unsavedSince
        return note(life, 'set', error)
      }
      if (how === 'late' || how === 'crash, late') {
        world.later(plan.fault?.after ?? 0, () => store(life, cursor, expected))
        if (how === 'crash, late') die(life)
      }
      await sim.turn()
      if (life.dead) return never()
      if (failure(how) === 'refused') throw failed(new Error('the connection to the store is gone'))
      try {
        store(life, cursor, expected, true)
      } catch (error) {
        life.conflict = true
        life.unknown = undefined
        throw failed(error)
      }
      await sim.turn()
      end(life, how)
      if (life.dead) return never()
      life.yieldedAt = elapsed(life)
      if (failure(how) === 'after') throw failed(new Error('the reply of the store is lost'))
      life.saving--
      life.saves++
      life.known = cursor
      life.unknown = undefined
      life.saved = positionOf(cursor)
    },
    reset: async () => world.violate('L12', 'expected the cursor to be compared and set, but it is reset'),
  }
}

/** Takes effect at once, or as late as it likes. */
function store(life: Life, cursor: Cursor, expected: Cursor, loud = false): void {
  const { world, plan } = life
  const before = world.stored
  try {
    world.set(cursor, expected)
  } catch (error) {
    if (loud) throw error
    return
  }
  const sameLog = before === '' || before.endsWith(`@${world.generation}`)
  if (sameLog && positionOf(cursor) < positionOf(before))
    world.violate('L12', `expected the cursor to go forward only, but it goes from ${before} to ${cursor}`)
  // What this consumer skips, or left behind when it began at the head, is done.
  const from = life.start ?? 0
  const to = positionOf(cursor)
  if (life.pinHead && before === '') for (let p = 1; p <= from; p++) world.excused[p] = true
  if (plan.types === undefined && plan.filter !== true) return
  for (let p = from + 1; p <= to; p++) if (!world.done[p]) world.excused[p] = true
}

function checkSave(life: Life, cursor: Cursor, expected: Cursor): undefined {
  const { world } = life
  const violate = world.violate
  const position = positionOf(cursor)
  if (life.settled) violate('Y1', `expected nothing to go on after the end, but ${cursor} is saved`)
  if (life.saving > 0)
    violate('L6', `expected one save at a time, but ${cursor} is saved while another save is under way`)
  if (life.got === undefined) return violate('L12', `expected the cursor to be read first, but ${cursor} is saved`)
  if (life.conflict)
    violate('L12', `expected nothing to be saved after a conflict: another has the cursor; but ${cursor} is saved`)
  else if (life.unknown !== undefined)
    violate('L6', `expected nothing to be saved while nobody knows whether ${life.unknown} is; but ${cursor} is saved`)
  else if (expected !== life.known)
    violate(
      'L12',
      `expected ${cursor} to be saved over ${JSON.stringify(life.known)}, which this process read or wrote last, but it is saved over ${JSON.stringify(expected)}: what another wrote is lost`,
    )
  const incarnation = `@${world.generation}`
  if (!cursor.endsWith(incarnation) || String(position) !== cursor.slice(0, -incarnation.length))
    return violate(
      'L15',
      `expected a position of this log with its incarnation, as 3${incarnation}, but ${JSON.stringify(cursor)} is saved`,
    )
  if (position < positionOf(life.known))
    violate('L12', `expected the cursor to go forward only, but after ${life.known} this process saves ${cursor}`)
  const delivered = life.batches.at(-1)?.to ?? Math.max(positionOf(life.got), 0)
  if (position > delivered)
    violate('L2', `expected a cursor that was reached, at most ${delivered}, but ${cursor} is saved`)
  const failed = life.thrown.find(({ eventId }) => eventId !== undefined)?.eventId
  if (failed !== undefined && position >= Number(failed))
    violate('L4', `expected event ${failed}, which failed, to be the first again, but ${cursor} is saved`)
  // Rule 1: never ahead of what is handled, or settled.
  const next = nextWanted(life, Math.max(life.doneTo, life.start ?? 0), position)
  if (next !== undefined)
    violate(
      'L2',
      `expected a cursor before event ${next}, which is not ${life.plan.handling === 'background' ? 'settled' : 'handled'}, but ${cursor} is saved`,
    )
}
