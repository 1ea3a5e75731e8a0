import type { Event } from '../core/event.ts'

/** The last pages that were read of a table, one after the other, for all who stand in them. */
export interface TableWindow {
  /** The position after the last page. */
  readonly end: bigint
  /** Adds a page that was read from `end` on, proven as every page is. Lets go of the oldest where it holds too much. */
  append(events: readonly Event[]): void
  /**
   * What follows `position`, a page at most; nothing at the end, nor beyond it. Undefined where it cannot tell: the position is
   * before what it holds, or is no row in it.
   */
  after(position: bigint): readonly Event[] | undefined
  /** Lets go of the pages that end at `position` or before. */
  forget(position: bigint): void
}

/** How much a window holds: about, since the newest page is always held. */
export interface TableWindowBounds {
  readonly maxEvents: number
  /** Of payload. */
  readonly maxBytes: number
}

interface Page {
  readonly after: bigint
  readonly last: bigint
  readonly events: readonly Event[]
  readonly bytes: number
}

/** A window that begins, empty, at a position whose row was read. */
export function tableWindow(start: bigint, { maxEvents, maxBytes }: TableWindowBounds): TableWindow {
  let base = start
  let end = start
  const pages: Page[] = []
  let count = 0
  let bytes = 0

  const dropFirst = (): void => {
    const first = pages.shift() as Page
    base = first.last
    count -= first.events.length
    bytes -= first.bytes
  }
  return {
    get end() {
      return end
    },
    append: (events) => {
      const page = { after: end, last: BigInt((events.at(-1) as Event).id), events, bytes: payloadBytes(events) }
      pages.push(page)
      end = page.last
      count += events.length
      bytes += page.bytes
      while (pages.length > 1 && (count > maxEvents || bytes > maxBytes)) dropFirst()
    },
    after: (position) => {
      if (position < base) return undefined
      const page = pages.find(({ last }) => position < last)
      if (page === undefined) return []
      if (position === page.after) return page.events
      const id = String(position)
      const at = page.events.findIndex((event) => event.id === id)
      return at < 0 ? undefined : page.events.slice(at + 1)
    },
    forget: (position) => {
      while (pages[0] !== undefined && pages[0].last <= position) dropFirst()
    },
  }
}

/** The payload of `events`, in bytes. */
export function payloadBytes(events: readonly Event[]): number {
  return events.reduce((sum, { metadata }) => sum + (metadata?.length ?? 0), 0)
}
