import type { Cursor, NewEvent } from '../../core/event.ts'

/** An event as it was appended, and what became of it. */
export interface Entry {
  /** Undefined for what is not an event. */
  readonly body: NewEvent | undefined
  /** Not known if the writer was not told it and nobody has read it. */
  id: string | undefined
  /** Taken out of the middle: readers pass over it. */
  removed: boolean
}

/** A cursor that was seen, and where it stands. */
export interface SeenCursor {
  readonly cursor: Cursor
  /** How many entries are certainly before it, and how many can be: what was passed over without being given may lie between. */
  readonly least: number
  readonly most: number
  readonly generation: number
}

/** What becomes of a stream that is opened at a cursor. */
export type Expected = 'opens' | 'trimmed' | 'ahead' | 'trimmed or opens' | 'anything'

/** The log as it should be: what was appended, in order, and what happened to it since. */
export interface LogModel {
  /** How often it was recreated. */
  readonly generation: number
  /** Never changed in place but at its end: who holds it keeps what has been lost since. */
  readonly entries: readonly Entry[]
  /** Entries before this one are gone by retention. */
  readonly trimmed: number
  /** The first is `""`. */
  readonly cursors: readonly SeenCursor[]
  append(bodies: readonly (NewEvent | undefined)[], ids: readonly string[] | undefined): void
  trim(entry: number): void
  remove(entry: number): void
  /** What follows `entry` is lost. */
  rewind(entry: number): void
  recreate(): void
  see(seen: Omit<SeenCursor, 'generation'>): void
  /** What is known of a cursor of this log. */
  find(cursor: Cursor): SeenCursor | undefined
  /** What should become of opening at a cursor; of a log that has incarnations, or none. */
  expect(seen: SeenCursor, options: { readonly incarnated: boolean; isWanted(entry: number): boolean }): Expected
  /** The entries that are still there and whose ids are known. */
  present(): number[]
}

/** Makes the model of an empty log. */
export function logModel(): LogModel {
  let generation = 0
  let entries: Entry[] = []
  let trimmed = 0
  let cursors: SeenCursor[] = [{ cursor: '', least: 0, most: 0, generation: 0 }]

  const see = ({ cursor, least, most }: Omit<SeenCursor, 'generation'>): void => {
    if (!cursors.some((each) => each.cursor === cursor && each.generation === generation))
      cursors.push({ cursor, least, most, generation })
  }
  return {
    get generation() {
      return generation
    },
    get entries() {
      return entries
    },
    get trimmed() {
      return trimmed
    },
    get cursors() {
      return cursors
    },
    append: (bodies, ids) => {
      // A position says nothing about what it was taken of, once others stand where it was lost.
      cursors = cursors.filter(({ least, generation: of }) => of !== generation || least <= entries.length)
      for (const [i, body] of bodies.entries()) {
        const id = ids?.[i]
        entries.push({ body, id, removed: false })
        if (id !== undefined) see({ cursor: id, least: entries.length, most: entries.length })
      }
    },
    trim: (entry) => {
      trimmed = Math.max(trimmed, entry)
    },
    remove: (entry) => {
      const removed = entries[entry]
      if (removed !== undefined) removed.removed = true
    },
    rewind: (entry) => {
      const kept = entry + 1
      const last = entries[entry]?.id
      entries = entries.slice(0, kept)
      // One that may cover more than the last event that is left may have been lost with what followed it.
      cursors = cursors.filter(
        ({ cursor, least, most, generation: of }) =>
          of !== generation || cursor === '' || cursor === last || most < kept || least > kept,
      )
    },
    recreate: () => {
      generation++
      entries = []
      trimmed = 0
      cursors = cursors.map((each) => (each.cursor === '' ? { ...each, generation } : each))
    },
    see,
    find: (cursor) => cursors.find((each) => each.cursor === cursor && each.generation === generation),
    expect: ({ cursor, least, most, generation: of }, { incarnated, isWanted }) => {
      if (cursor === '') return 'opens'
      if (of !== generation) {
        if (incarnated && cursor.includes('@')) return 'ahead'
        return entries.length === 0 && least > 0 ? 'ahead' : 'anything'
      }
      if (least > entries.length) return 'ahead'
      if (most > entries.length) return 'anything'
      // Before everything there is nothing that could be looked for: a log may take that for the earliest.
      if (most === 0) return trimmed > 0 ? 'trimmed or opens' : 'opens'
      let lost = false
      for (let i = most; i < trimmed; i++) {
        if (entries[i]?.removed) continue
        if (isWanted(i)) return 'trimmed'
        lost = true
      }
      // At the edge a log may not be able to prove that nothing followed what is gone, nor may one whose own entry is gone.
      return lost || least <= trimmed
        ? trimmed > 0
          ? 'trimmed or opens'
          : 'opens'
        : entries[least - 1]?.removed
          ? 'trimmed or opens'
          : 'opens'
    },
    present: () =>
      entries.flatMap(({ id, body, removed }, i) =>
        id === undefined || body === undefined || removed || i < trimmed ? [] : [i],
      ),
  }
}
