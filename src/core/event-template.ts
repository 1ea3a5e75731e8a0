import { OptionError, ReflexError } from './errors.ts'
import type { Event } from './event.ts'

/** The header that a type's name travels in, and that `{typeName}` stands for. */
export const typeNameHeader = 'type-name'

/** A part of an event that a template can hold. */
export type TemplateField = 'id' | 'type' | 'typeName' | 'foreignId' | `headers.${string}`

/** A piece of a template: text as it is, or what an event has in a field. */
export type TemplatePiece = string | { readonly field: TemplateField }

/** Text with places for parts of an event. */
export interface EventTemplate {
  readonly text: string
  readonly pieces: readonly TemplatePiece[]
  /**
   * The text for an event; `encode` is asked what stands for each value. Throws `TEMPLATE_UNFILLED` if the event has no such
   * header, or several values of it.
   */
  fill(event: Event, encode?: (value: string, field: TemplateField) => string): string
}

/**
 * Reads a template: `{id}`, `{type}`, `{typeName}` (the header `type-name`), `{foreignId}` and `{headers.NAME}` are replaced; a brace
 * itself is doubled. Throws an `OptionError` on any other; `what` names the option there.
 */
export function eventTemplate(what: string, text: unknown): EventTemplate {
  if (typeof text !== 'string' || text === '')
    throw new OptionError(`${what} must be text that is not empty, like orders.{type}, but is ${JSON.stringify(text)}`)
  const pieces: TemplatePiece[] = []
  const say = (plain: string): void => {
    const before = pieces.at(-1)
    if (typeof before === 'string') pieces[pieces.length - 1] = before + plain
    else pieces.push(plain)
  }
  for (const [piece] of text.matchAll(/\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+/g)) {
    if (piece === '{{' || piece === '}}') say(piece.charAt(0))
    else if (!/[{}]/.test(piece)) say(piece)
    else if (/^\{(id|type|typeName|foreignId|headers\..+)\}$/s.test(piece))
      pieces.push({ field: piece.slice(1, -1) as TemplateField })
    else
      throw new OptionError(
        `${what} may hold {id}, {type}, {typeName}, {foreignId} and {headers.NAME}, and a brace itself doubled, but there is ${piece} in ${text}`,
      )
  }
  return {
    text,
    pieces,
    fill: (event, encode = (value) => value) => {
      let filled = ''
      for (const piece of pieces)
        filled += typeof piece === 'string' ? piece : encode(partOf(event, piece.field, text), piece.field)
      return filled
    },
  }
}

function partOf(event: Event, field: TemplateField, text: string): string {
  if (field === 'id' || field === 'foreignId') return event[field]
  if (field === 'type') return String(event.type)
  const name = field === 'typeName' ? typeNameHeader : field.slice('headers.'.length)
  const value = Object.hasOwn(event.headers, name) ? event.headers[name] : undefined
  if (typeof value === 'string') return value
  const found = value === undefined ? 'has none' : `has ${value.length} of them`
  const advice = field === 'typeName' && value === undefined ? `: give its type ${event.type} a name` : ''
  throw new ReflexError(
    'TEMPLATE_UNFILLED',
    `event ${event.id}: ${text} needs one header ${JSON.stringify(name)}, but the event ${found}${advice}`,
    { retriable: false, kind: 'poison', eventId: event.id },
  )
}
