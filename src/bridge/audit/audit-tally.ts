import type { Cursor, Event } from '../../core/event.ts'
import { bitSet } from './bit-set.ts'
import { differences } from './differences.ts'
import { newestNumbers } from './newest-numbers.ts'
import { sourceIds } from './source-ids.ts'

/** What `audit` has found. Of each kind the first ones are listed, and all are counted. */
export interface AuditReport {
  /** The range that was judged. */
  readonly from: Cursor
  readonly to: Cursor
  readonly counts: AuditCounts
  /** True if everything that had to be forwarded stands there once, in order and unchanged, and nothing is made up. */
  readonly ok: boolean
  /** Ids of events that are missing. */
  readonly lost: readonly string[]
  /** What stands there again. */
  readonly duplicated: readonly AuditEntry[]
  /** What stands behind a later event of the same foreignId. */
  readonly reordered: readonly AuditEntry[]
  /** What is not as it was sent. */
  readonly different: readonly DifferentEntry[]
  /** What says that it is of this source, which does not have it. */
  readonly unknown: readonly AuditEntry[]
  /** What others have written, without ids. */
  readonly foreign: readonly Omit<AuditEntry, 'id'>[]
}

/** An entry of a destination. */
export interface AuditEntry {
  /** Its id in the source. */
  readonly id: string
  /** Which log it stands in, and where. */
  readonly destination: string
  readonly at: Cursor
}

/** An entry that is not as it was sent. */
export interface DifferentEntry extends AuditEntry {
  /** The parts that differ: `type`, `foreignId`, `timestamp`, `metadata`, `header x`. */
  readonly parts: readonly string[]
}

/** How many there are of each kind. */
export interface AuditCounts {
  /** Events of the source in the range. */
  readonly source: number
  /** Of them: found; left out by the transform; missing. */
  readonly delivered: number
  readonly filtered: number
  readonly lost: number
  /** Of them: missing, and set aside on purpose. */
  readonly setAside: number
  /** Of them: missing, but older than what the destination still has of its front. */
  readonly trimmed: number
  /** Entries of the destination. */
  readonly duplicated: number
  readonly reordered: number
  /** Behind later events of other foreignIds alone, as a dead letter that was sent after all: in order all the same. */
  readonly late: number
  readonly different: number
  readonly unknown: number
  readonly foreign: number
  /** Found so late that they were not compared with what was sent. */
  readonly notCompared: number
  /** Entries of events before the range, or that the source has removed, and beyond the range: not judged. */
  readonly before: number
  readonly beyond: number
}

/** One destination. */
export interface AuditUnit {
  /** Whether its front is gone; undefined before it was asked. */
  readonly trimmed: boolean | undefined
  setTrimmed(trimmed: boolean): void
  /** An entry of another writer stands at `at`. */
  foreign(at: Cursor): void
  /** An entry of the event with this number and id, which was sent like this if that is at hand. */
  found(number: number, id: string, entry: Event, sent?: Event): void
  /** An entry whose event is not at hand. `ahead`: the source has not been read that far yet, and nothing is judged. */
  judge(id: string, entry: Event): 'judged' | 'ahead'
}

/** What is known so far. */
export interface AuditTally {
  /** Adds an event of the source; returns its number. */
  add(id: string): number
  /** The event with this number is left out. */
  filter(number: number): void
  /** The source was read up to here. */
  readUpTo(cursor: Cursor): void
  size(): number
  /** One of the destinations, of which there are so many. */
  unit(destination: string, of: number): AuditUnit
  report(): AuditReport
}

/** The range, and how the source orders its cursors. */
export interface AuditRange {
  readonly compare: (a: Cursor, b: Cursor) => number
  readonly from: Cursor
  readonly to: Cursor
  readonly listed: number
  readonly setAside: ReadonlySet<string> | undefined
}

/** Of more of them, what stands behind a later event counts as reordered where it is not known any more whose that was. */
const KNOWN_FOREIGN_IDS = 200_000

/** Starts to count. */
export function auditTally({ compare, from, to, listed, setAside = new Set() }: AuditRange): AuditTally {
  const ids = sourceIds(compare)
  const seen = bitSet()
  const filtered = bitSet()
  let frontier = from
  const counts = {
    ...{ delivered: 0, filtered: 0, lost: 0, setAside: 0, trimmed: 0 },
    ...{
      duplicated: 0,
      reordered: 0,
      late: 0,
      different: 0,
      unknown: 0,
      foreign: 0,
      notCompared: 0,
      before: 0,
      beyond: 0,
    },
  }
  const lost: string[] = []
  const lists = { duplicated: [] as AuditEntry[], reordered: [] as AuditEntry[], unknown: [] as AuditEntry[] }
  const different: DifferentEntry[] = []
  const foreign: Omit<AuditEntry, 'id'>[] = []
  /** By unit whose front is gone: the number of the first event that is still there. */
  const fronts: (() => number)[] = []

  /** Where an id stands: its number, or why it has none. */
  const locate = (id: string): number | 'ahead' | 'before' | 'beyond' | 'unknown' => {
    try {
      if (from !== '' && compare(id, from) <= 0) return 'before'
      if (to === '' || compare(id, to) > 0) return 'beyond'
      if (frontier === '' || compare(id, frontier) > 0) return 'ahead'
      const number = ids.find(id)
      if (number !== undefined) return number
      // A table may be purged of what has been forwarded.
      return from === '' && (ids.count === 0 || compare(id, ids.at(0)) < 0) ? 'before' : 'unknown'
    } catch {
      return 'unknown' // no id of this source
    }
  }

  function unit(destination: string, of: number): AuditUnit {
    let trimmed: boolean | undefined
    let front: number | undefined
    let newest = -1
    const newestOf = newestNumbers(Math.ceil(KNOWN_FOREIGN_IDS / of))
    const note = (kind: keyof typeof lists, id: string, at: Cursor): void => {
      counts[kind]++
      if (lists[kind].length < listed) lists[kind].push({ id, destination, at })
    }
    fronts.push(() => (trimmed ? (front ?? Number.POSITIVE_INFINITY) : 0))
    const found: AuditUnit['found'] = (number, id, entry, sent) => {
      const { id: at, foreignId } = entry
      front ??= number
      const isFirst = seen.add(number)
      if (!isFirst) note('duplicated', id, at)
      else if (number < newest) {
        if (number < newestOf.get(foreignId, newest)) note('reordered', id, at)
        else counts.late++
      }
      newest = Math.max(newest, number)
      newestOf.add(foreignId, number)
      if (!isFirst || filtered.has(number)) return
      counts.delivered++
      if (sent === undefined) {
        counts.notCompared++
        return
      }
      const parts = differences(sent, entry)
      if (parts.length === 0) return
      counts.different++
      if (different.length < listed) different.push({ id, destination, at, parts })
    }
    return {
      get trimmed() {
        return trimmed
      },
      setTrimmed: (is) => {
        trimmed = is
      },
      foreign: (at) => {
        counts.foreign++
        if (foreign.length < listed) foreign.push({ destination, at })
      },
      found,
      judge: (id, entry) => {
        const place = locate(id)
        if (place === 'ahead') return place
        if (typeof place === 'number') found(place, id, entry)
        else if (place === 'unknown') note('unknown', id, entry.id)
        else {
          counts[place]++
          front ??= place === 'before' ? 0 : Number.POSITIVE_INFINITY
        }
        return 'judged'
      },
    }
  }

  return {
    add: (id) => ids.add(id),
    filter: (number) => {
      filtered.add(number)
      counts.filtered++
    },
    readUpTo: (cursor) => {
      frontier = cursor
    },
    size: () => ids.count,
    unit,
    report: () => {
      const front = Math.max(0, ...fronts.map((each) => each()))
      for (let number = 0; number < ids.count; number++) {
        if (seen.has(number) || filtered.has(number)) continue
        if (setAside.size > 0 && setAside.has(ids.at(number))) counts.setAside++
        else if (number < front) counts.trimmed++
        else if (counts.lost++ < listed) lost.push(ids.at(number))
      }
      const { duplicated, reordered, unknown } = counts
      const ok = counts.lost + duplicated + reordered + unknown + counts.different === 0
      return { from, to, counts: { source: ids.count, ...counts }, ok, lost, ...lists, different, foreign }
    },
  }
}
