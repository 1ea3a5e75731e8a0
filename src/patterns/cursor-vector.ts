import { CursorInvalidError, OptionError } from '../core/errors.ts'
import type { Cursor } from '../core/event.ts'

/**
 * The text of a position of several sources: `orders=17&payments=4@1`, the names in order and percent-encoded like the positions; what
 * stands after `@` is the source's incarnation. With `orders:` before it, it is the id of an event of that source.
 */
export function formatVector(names: readonly string[], parts: readonly string[]): Cursor {
  return names.map((name, i) => `${encodeURIComponent(name)}=${parts[i]}`).join('&')
}

/** The text before and behind one of the parts. */
export function aroundPart(names: readonly string[], parts: readonly string[], part: number): [string, string] {
  const before = formatVector(names.slice(0, part + 1), [...parts.slice(0, part), ''])
  const behind = formatVector(names.slice(part + 1), parts.slice(part + 1))
  return [before, behind === '' ? '' : `&${behind}`]
}

/** One part of a vector: a cursor of its source, saved or bare. */
export function vectorPart(cursor: Cursor, incarnation: string | undefined): string {
  if (cursor === '' || incarnation === undefined) return encodeURIComponent(cursor)
  const saved = `@${incarnation}`
  const position = cursor.endsWith(saved) ? cursor.slice(0, -saved.length) : cursor
  return `${encodeURIComponent(position)}@${encodeURIComponent(incarnation)}`
}

/** The cursors in a vector, in the order of `names`; `""` for a source that it does not hold. Throws a `CursorInvalidError`. */
export function parseVector(log: string, names: readonly string[], cursor: Cursor): Cursor[] {
  if (cursor === '') return names.map(() => '')
  const invalid = (expected: string, cause?: unknown): CursorInvalidError =>
    new CursorInvalidError(log, { cursor, expected, cause })
  const form = `a position of each of the sources ${names.join(', ')}, as ${formatVector(names.slice(0, 2), ['17', '4'])}`
  const { of, vector } = split(cursor)
  const parts = new Map<string, Cursor>()
  try {
    for (const text of vector.split('&')) {
      const [name, part, ...more] = text.split('=')
      if (name === undefined || part === undefined || more.length > 0 || parts.has(decodeURIComponent(name)))
        throw invalid(form)
      parts.set(decodeURIComponent(name), part.split('@').map(decodeURIComponent).join('@'))
    }
  } catch (error) {
    throw error instanceof CursorInvalidError ? error : invalid(form, error)
  }
  const gone = [...parts.keys()].filter((name) => !names.includes(name))
  if (gone.length > 0) {
    const left = vector.split('&').filter((text) => !gone.includes(decodeURIComponent(text.split('=')[0] as string)))
    throw invalid(
      `${form}, but it holds one of ${gone.join(', ')}, which is not merged; to leave that out for good, reset the cursor to ${JSON.stringify(left.join('&'))}`,
    )
  }
  if (of !== undefined && !parts.has(of)) throw invalid(form)
  return names.map((name) => parts.get(name) ?? '')
}

/** Where an event of a merged source comes from. */
export interface Origin {
  /** The name of its source. */
  readonly source: string
  /** Its id there. */
  readonly id: string
}

/**
 * Where an event comes from that was read from a merged source; told by its id, of which this is what is always the same.
 * Throws an `OptionError` if the id is not one of `merge`.
 *
 * @example originOf(event.id) // { source: 'orders', id: '17' }
 */
export function originOf(id: string): Origin {
  const { of: source } = split(id)
  const own = ownPart(id)
  if (source === undefined || own === undefined)
    throw new OptionError(
      `expected the id of an event of merge, as orders:orders=17&payments=4, but found ${JSON.stringify(id)}`,
    )
  const [position = ''] = own.slice(own.indexOf('=') + 1).split('@')
  return { source, id: decodeURIComponent(position) }
}

/** What of the id of an event is the same whenever it is read: of one of a merged source the part of that source, else all of it. */
export function stableId(id: string): string {
  const own = ownPart(id)
  if (own === undefined) return id
  const inner = originOf(id).id // of a source that is merged itself only a part is the same
  const stable = stableId(inner)
  return stable === inner ? own : `${own.slice(0, own.indexOf('=') + 1)}${stable}`
}

function ownPart(id: string): string | undefined {
  const { of: source, vector } = split(id)
  if (source === undefined) return undefined
  return vector.split('&').find((text) => text.startsWith(`${encodeURIComponent(source)}=`))
}

function split(text: string): { readonly of: string | undefined; readonly vector: string } {
  const colon = text.indexOf(':')
  if (colon < 0) return { of: undefined, vector: text }
  return { of: decoded(text.slice(0, colon)), vector: text.slice(colon + 1) }
}

/** What is not encoded as it should be names no source. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
