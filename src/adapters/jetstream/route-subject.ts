import { OptionError, ReflexError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { eventTemplate, type TemplateField, type TemplatePiece } from '../../core/event-template.ts'
import { encodeHeaderText } from '../../core/wire.ts'
import { checkPrefix, isToken } from './subjects.ts'

/** Subjects by a function: below one prefix. */
export interface SubjectsBelow {
  /** The route is the only one that publishes under it. */
  readonly prefix: string
  /** What follows the prefix for an event, without wildcards and spaces: `1`, or `eu.created`. For an event always the same. */
  readonly of: (event: Event) => string
}

/** Where the events of a route go. */
export interface RouteSubject {
  /** All subjects are below it, and no other writer's are. */
  readonly prefix: string
  /** With wildcards: it matches all that `of` can give. */
  readonly pattern: string
  /** The subject of an event. Throws `EVENT_UNROUTABLE` if the event makes none. */
  of(event: Event): string
  /** Whether `of` can have given a subject; the check is as narrow as the option lets it be. */
  gives(subject: string): boolean
}

/** A line of the protocol has 4,096 bytes at most (`max_control_line`), and there is more in it than the subject. */
const MAX_SUBJECT_BYTES = 3000

/**
 * Reads the option `subject`: a prefix, below which each type has its subject; a template like `orders.{typeName}`, whose tokens before
 * the first with a place are the prefix; or a function. In a template, `{typeName}` may be several tokens, and every other value is made
 * one: what a token cannot hold is percent-encoded. Throws an `OptionError` on anything else; `log` names the destination in errors.
 */
export function routeSubject(log: string, subject: string | SubjectsBelow): RouteSubject {
  if (typeof subject !== 'string') {
    const { prefix, of } = (subject ?? {}) as Partial<SubjectsBelow>
    checkPrefix(log, prefix ?? subject)
    if (typeof of !== 'function')
      throw new OptionError(`${log}: subject.of must be a function that returns what follows ${prefix} for an event`)
    return {
      prefix: prefix as string,
      pattern: `${prefix}.>`,
      of: (event) => {
        const below: unknown = of(event)
        return checked(log, event, typeof below === 'string' ? `${prefix}.${below}` : below)
      },
      gives: (found) => found.startsWith(`${prefix}.`),
    }
  }
  if (!subject.includes('{')) {
    checkPrefix(log, subject)
    const { gives } = ofTemplate(log, `${subject}.{type}`)
    return { prefix: subject, pattern: `${subject}.*`, of: ({ type }) => `${subject}.${type}`, gives }
  }
  return ofTemplate(log, subject)
}

function ofTemplate(log: string, text: string): RouteSubject {
  const template = eventTemplate(`${log}: subject`, text)
  const tokens = tokensOf(template.pieces)
  const fixed = tokens.findIndex((token) => token.some((piece) => typeof piece !== 'string'))
  const isSound = (token: readonly TemplatePiece[]): boolean =>
    token.length > 0 && token.every((piece) => typeof piece !== 'string' || isToken(piece))
  if (fixed < 1 || !tokens.every(isSound))
    throw new OptionError(
      `${log}: subject must begin with a token of the route's own, like orders.{type}, and its tokens must have no wildcards and spaces, but it is ${JSON.stringify(text)}`,
    )
  const prefix = tokens.slice(0, fixed).flat().join('.')
  checkPrefix(log, prefix)
  const many = tokens.findIndex((token) => token.some((piece) => fieldOf(piece) === 'typeName'))
  const single = tokens.slice(0, many < 0 ? undefined : many).map((token) => (isFixed(token) ? token.join('') : '*'))
  const possible = new RegExp(`^${tokens.map((token) => token.map(possibleText).join('')).join('\\.')}$`, 's')
  return {
    prefix,
    pattern: [...single, ...(many < 0 ? [] : ['>'])].join('.'),
    of: (event) => checked(log, event, template.fill(event, encoded)),
    gives: (found) => possible.test(found),
  }
}

/** The pieces of a template, token by token. */
function tokensOf(pieces: readonly TemplatePiece[]): TemplatePiece[][] {
  const tokens: TemplatePiece[][] = [[]]
  for (const piece of pieces) {
    if (typeof piece !== 'string') {
      tokens.at(-1)?.push(piece)
      continue
    }
    for (const [i, text] of piece.split('.').entries()) {
      if (i > 0) tokens.push([])
      if (text !== '') tokens.at(-1)?.push(text)
    }
  }
  return tokens
}

function isFixed(token: readonly TemplatePiece[]): boolean {
  return token.every((piece) => typeof piece === 'string')
}

function fieldOf(piece: TemplatePiece): TemplateField | undefined {
  return typeof piece === 'string' ? undefined : piece.field
}

function possibleText(piece: TemplatePiece): string {
  if (typeof piece === 'string') return piece.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  if (piece.field === 'type') return '-?\\d+'
  return piece.field === 'typeName' ? '.+' : '[^.]+'
}

/** A value as it stands in a subject. */
function encoded(value: string, field: TemplateField): string {
  const unsafe = field === 'typeName' ? /[ *>]/g : /[ *>.]/g
  return encodeHeaderText(value).replace(unsafe, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
}

function checked(log: string, { id }: Event, subject: unknown): string {
  const bytes = typeof subject === 'string' ? Buffer.byteLength(subject) : 0
  if (
    typeof subject === 'string' &&
    bytes <= MAX_SUBJECT_BYTES &&
    subject.isWellFormed() &&
    subject.split('.').every(isToken)
  )
    return subject
  const found = bytes > MAX_SUBJECT_BYTES ? `one of ${bytes} bytes` : JSON.stringify(subject)
  throw new ReflexError(
    'EVENT_UNROUTABLE',
    `${log}: event ${id} needs a subject of at most ${MAX_SUBJECT_BYTES} bytes whose tokens are not empty and have no wildcards or spaces, but its own would be ${found}`,
    { retriable: false, kind: 'poison', eventId: id },
  )
}
