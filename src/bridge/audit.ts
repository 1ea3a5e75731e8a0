import { breather } from '../core/breather.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { disposeStack } from '../core/dispose-stack.ts'
import { OptionError } from '../core/errors.ts'
import type { Cursor, Event } from '../core/event.ts'
import { openStream, type Source } from '../core/stream.ts'
import { wireNames } from '../core/wire.ts'
import { applyTransform } from './apply-transform.ts'
import { type AuditReport, type AuditUnit, auditTally } from './audit/audit-tally.ts'
import { type BatchReader, batchReader } from './audit/batch-reader.ts'
import { isOrigin, wasTrimmed } from './audit/was-trimmed.ts'
import { pinHead } from './pin-head.ts'
import type { Transform } from './transform.ts'

export type { AuditCounts, AuditEntry, AuditReport, DifferentEntry } from './audit/audit-tally.ts'

/** What is held against what. */
export interface AuditSpec {
  /** What was forwarded. It must have `compare`. */
  readonly source: Source
  /**
   * Where to, read back: one log for each unit that keeps an order of its own, so the one stream of Redis or JetStream, and every
   * partition of a Kafka topic. They may be shared with others.
   */
  readonly destinations: readonly Source[]
  /** The name under which the source stands in the headers of what was forwarded. Default: `source.name`. */
  readonly sourceName?: string | undefined
  /** The position after which the audit begins. Default: `""`, the earliest event that the source has. */
  readonly from?: Cursor | undefined
  /**
   * The position up to which the events must have been forwarded: of a route at work, the cursor of its checkpoint. Default: the
   * source's head, so that what is still to be forwarded counts as lost.
   */
  readonly to?: Cursor | undefined
  /** What the route makes of its events. What it leaves out is not lost; what it throws at is expected, as nothing may pass it. */
  readonly transform?: Transform | undefined
  /** Ids that were let past on purpose: dead letters, and what was skipped. They are not lost. Default: none. */
  readonly setAside?: ReadonlySet<string> | undefined
}

/** Options of `audit`. */
export interface AuditRunOptions {
  readonly signal?: AbortSignal | undefined
  /** Is told how many events of either side have been read. Must not throw. */
  readonly onProgress?: ((read: { readonly source: number; readonly destination: number }) => void) | undefined
  /** The most ids of each kind that are listed; all are counted. Default: 100. */
  readonly listed?: number | undefined
  /** Default: the machine's clock. */
  readonly clock?: Clock | undefined
}

/** Events of the source that have not been found yet are kept for so long, to be compared with what comes late. */
const WINDOW_EVENTS = 10_000
const WINDOW_BYTES = 16 * 1024 * 1024

/**
 * Holds a destination against its source: which events of a range are lost, stand there twice, out of order or changed, and
 * which were never in the source. Reads both sides once, in order, and keeps neither: two bits an event, and what is wrong.
 *
 * May be run while events are forwarded: the end of the range is fixed first and the ends of the destinations after it, so that
 * everything up to the one must stand before the others; what is beyond is not judged. What a destination has removed from its
 * front by retention is told apart from what it has lost, where its server counts what it removes.
 *
 * Rejects as the two sides do, and with an `OptionError` if the range is none.
 *
 * @example const { counts, lost } = await audit({ source, destinations: [redisStream(redis, { key: 'orders' })] })
 */
export async function audit(spec: AuditSpec, options: AuditRunOptions = {}): Promise<AuditReport> {
  const { source, destinations, sourceName = source.name, from = '', transform, setAside } = spec
  const { signal, onProgress, listed = 100, clock = systemClock } = options
  const { compare } = source
  if (compare === undefined)
    throw new OptionError(`${source.name}: to be audited a source must have compare, which orders its cursors`)
  await using opened = disposeStack()

  const to = spec.to ?? (await pinHead(source, signal))
  if (from !== '' && (to === '' || compare(from, to) > 0))
    throw new OptionError(
      `${source.name}: the range must not end before it begins: from ${from}, to ${to || 'the start'}`,
    )
  const tally = auditTally({ compare, from, to, listed, setAside })
  const opening = destinations.map(async (destination): Promise<Unit> => {
    const stream = opened.use(await openStream(destination.stream, '', { signal, toHead: true }))
    return {
      log: destination,
      tally: tally.unit(destination.name, destinations.length),
      reader: batchReader(stream),
      read: 0,
      left: [],
    }
  })
  opened.defer(() => Promise.allSettled(opening)) // where one fails, others are still to be opened, and closed
  const units = await Promise.all(opening)
  const reader =
    to === '' ? undefined : batchReader(opened.use(await openStream(source.stream, from, { signal, toHead: true })))

  const window = new Map<string, { readonly number: number; readonly event: Event }>()
  let windowBytes = 0
  let reached: Cursor | undefined = from === '' ? undefined : from
  const yieldNow = breather(clock)
  const breathe = (): Promise<void> => {
    signal?.throwIfAborted()
    return yieldNow()
  }

  const take = (id: string): Event | undefined => {
    const kept = window.get(id)?.event
    if (kept !== undefined && window.delete(id)) windowBytes -= kept.metadata?.length ?? 0
    return kept
  }
  /** True if the entry stands further on than the source was read. */
  const judge = (unit: Unit, event: Event): boolean => {
    const { [wireNames.source]: origin, [wireNames.sourceId]: id } = event.headers
    if (origin !== sourceName || typeof id !== 'string') {
      unit.tally.foreign(event.id)
      return false
    }
    const known = window.get(id)
    if (known !== undefined) {
      unit.tally.found(known.number, id, event, take(id))
      return false
    }
    return unit.tally.judge(id, event) === 'ahead'
  }
  /** Reads a destination as far as the source was read. */
  const advance = async (unit: Unit): Promise<void> => {
    for (;;) {
      await breathe()
      while (unit.left.length > 0) {
        const event = unit.left.at(-1) as Event
        if (judge(unit, event)) return
        unit.left.pop()
        unit.read++
      }
      const batch = await unit.reader.next()
      // After the first read: what is trimmed later is an error of the stream.
      if (unit.tally.trimmed === undefined) unit.tally.setTrimmed(await wasTrimmed(unit.log, signal))
      if (batch === undefined) return
      unit.left = [...batch.events].reverse()
    }
  }
  /** Reads on in the source; false if the range has ended. */
  const extend = async (): Promise<boolean> => {
    const batch = await reader?.next()
    if (batch === undefined) {
      const isThere = reached === undefined ? to === '' || isOrigin(to) : compare(reached, to) >= 0
      if (isThere) return false
      throw new OptionError(
        `${source.name}: the range must end in the source, but ${to} lies beyond its end, ${reached ?? 'the start'}`,
      )
    }
    for (const [id, { event }] of window) {
      if (window.size <= WINDOW_EVENTS && windowBytes <= WINDOW_BYTES) break
      window.delete(id)
      windowBytes -= event.metadata?.length ?? 0
    }
    const ends = compare(batch.cursor, to) >= 0
    for (const event of batch.events) {
      if (ends && compare(event.id, to) > 0) break
      const number = tally.add(event.id)
      const sent = sentAs(event, transform)
      if (sent === undefined) tally.filter(number)
      else if (sent !== 'unknown') {
        window.set(event.id, { number, event: sent })
        windowBytes += sent.metadata?.length ?? 0
      }
    }
    reached = batch.cursor
    tally.readUpTo(reached)
    await breathe()
    return !ends
  }

  for (let more = true; more; ) {
    await Promise.all(units.map(advance))
    more = await extend()
    onProgress?.({ source: tally.size(), destination: units.reduce((sum, { read }) => sum + read, 0) })
  }
  await Promise.all(units.map(advance))
  return tally.report()
}

/** A destination that is being read. */
interface Unit {
  readonly log: Source
  readonly tally: AuditUnit
  readonly reader: BatchReader
  read: number
  /** Of the batch, the last one first. */
  left: Event[]
}

/** What stands in the destination; undefined if it is left out, `unknown` if the transform cannot tell. */
function sentAs(event: Event, transform: Transform | undefined): Event | undefined | 'unknown' {
  if (transform === undefined) return event
  try {
    return applyTransform(transform, event)
  } catch {
    return 'unknown' // nothing passes it but by an operator's decision
  }
}
