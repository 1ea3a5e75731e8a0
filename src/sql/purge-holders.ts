import type { CursorStore } from '../core/cursor.ts'
import { OptionError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'
import { readUpTo } from '../core/read-up-to.ts'
import { parseTableCursor } from './table-stream.ts'

/** Who holds rows of an event table back from a purge. */
export interface PurgeHolders {
  /**
   * Where the cursors of the table's consumers are: each of them holds back what it has not read. A checkpoint of a bridge
   * counts with its cursor. Several stores in an array.
   */
  readonly cursors: Pick<CursorStore, 'list'> | readonly Pick<CursorStore, 'list'>[]
  /** Consumers that must be among them, or nothing is purged: those that may not have saved a cursor yet. Default: none. */
  readonly consumers?: readonly string[] | undefined
  /** Consumers of those stores that hold nothing back: those that are gone for good, and those of other logs. Default: none. */
  readonly except?: readonly string[] | undefined
  /** Positions in the table that are kept elsewhere, by name, as a route's at its destination. Default: none. */
  readonly positions?: Readonly<Record<string, Cursor>> | undefined
}

/** A position that holds rows back. */
export interface Holder {
  readonly name: string
  readonly cursor: Cursor
  /** The id of the row that its consumer has read last; 0 if it has read nothing. */
  readonly id: bigint
}

/**
 * Asks for all that hold rows back, the one that has read least first; at least one. Throws `OptionError` if a consumer is
 * unknown, `CursorInvalidError` if a cursor is not of a table.
 */
export async function listHolders(
  name: string,
  { cursors, consumers = [], except = [], positions = {} }: PurgeHolders,
): Promise<readonly [Holder, ...Holder[]]> {
  const stored = await listStored(name, { cursors })
  const unknown = consumers.find((consumer) => !stored.some(([each]) => each === consumer))
  if (unknown !== undefined) {
    throw new OptionError(
      `${name}: not purged, since no cursor of the consumer ${JSON.stringify(unknown)} is stored: it has saved none yet, or its store is not among cursors`,
    )
  }
  const [least, ...others] = [...stored.filter(([each]) => !except.includes(each)), ...Object.entries(positions)]
    .flatMap(([each, cursor]) => {
      const upTo = readUpTo(cursor)
      return upTo === undefined ? [] : [{ name: each, cursor, id: parseTableCursor(cursorOf(name, each), upTo) }]
    })
    .toSorted((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0))
  if (least !== undefined) return [least, ...others]
  throw new OptionError(
    `${name}: not purged, since there is no cursor of any consumer: is the cursor store the right one?`,
  )
}

/** What the stores hold, by consumer. Throws `OptionError` if one of them cannot tell. */
export async function listStored(
  name: string,
  { cursors }: Pick<PurgeHolders, 'cursors'>,
): Promise<readonly (readonly [consumer: string, cursor: Cursor])[]> {
  const stored: [string, Cursor][] = []
  for (const store of Array.isArray(cursors) ? (cursors as Pick<CursorStore, 'list'>[]) : [cursors]) {
    const list = await (store as Pick<CursorStore, 'list'> | undefined)?.list?.()
    if (list === undefined) {
      throw new OptionError(`${name}: to purge it, cursors must be a cursor store that has list(), or an array of them`)
    }
    stored.push(...list)
  }
  return stored
}

/** The error where a cursors table beside the events has a consumer that is not known; undefined if all are. */
export function unlistedConsumer(
  name: string,
  o: { readonly table: string; readonly consumers: readonly string[]; readonly known: ReadonlySet<string> },
): OptionError | undefined {
  const other = o.consumers.find((consumer) => !o.known.has(consumer))
  if (other === undefined) return undefined
  return new OptionError(
    `${name}: not purged, since the table ${o.table} holds the cursor of ${JSON.stringify(other)}, which no store of the option cursors lists: ` +
      'add the store, or name the consumer in except if it reads another log or is gone for good',
  )
}

/** Names a consumer's cursor in errors. */
export function cursorOf(name: string, consumer: string): string {
  return `${name}, as the cursor of ${JSON.stringify(consumer)}`
}
