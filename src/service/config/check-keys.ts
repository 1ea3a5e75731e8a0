import { z } from 'zod'
import { eventTemplate } from '../../core/event-template.ts'
import type { Problem } from './config-error.ts'
import { nearest } from './nearest.ts'

/** What `checkKeys` found: the value, or everything that is wrong with it. */
export type Checked<T> =
  | { readonly value: T; readonly problems: readonly [] }
  | { readonly value?: undefined; readonly problems: readonly Problem[] }

/** Checks one mapping against its keys, and says of each key what was expected and what was found. Values of text are not quoted: they may be secrets. */
export function checkKeys<Keys extends z.ZodObject>(
  keys: Keys,
  value: unknown,
  path: readonly string[],
): Checked<z.output<Keys>> {
  const result = keys.safeParse(value, { reportInput: true })
  if (result.success) return { value: result.data, problems: [] }
  return {
    problems: result.error.issues.flatMap((issue): Problem[] => {
      const at = [...path, ...issue.path.map(String)]
      if (issue.code === 'unrecognized_keys')
        return issue.keys.map((key) => ({ path: [...at, key], message: unknownKey(key, keysAt(keys, issue.path)) }))
      return [{ path: at, message: `expected ${expected(issue)}, found ${found(issue)}` }]
    }),
  }
}

/** True and false, also as text: an environment variable and a URL's query hold nothing else. */
export const flag: z.ZodType<boolean> = z.preprocess(
  (value) => (value === 'true' ? true : value === 'false' ? false : value),
  z.boolean(),
)

/** A whole number of at least `minimum`, also as text. */
export function count(minimum: number): z.ZodType<number> {
  return z.preprocess(
    (value) => (typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value),
    z.int().min(minimum),
  )
}

/** Text that is not empty. */
export const text: z.ZodString = z.string().min(1)

/** A template of `eventTemplate`, or text without braces. */
export const template: z.ZodString = text.refine((value) => isMade(() => eventTemplate('it', value)), {
  error: 'text in which braces are {id}, {type}, {typeName}, {foreignId} or {headers.NAME}, or doubled',
})

/** A list of at least one, or text with commas, as a URL's query has it. */
export function list<T>(of: z.ZodType<T>): z.ZodType<T[]> {
  return z.preprocess(
    (value) => (typeof value === 'string' ? value.split(',').map((each) => each.trim()) : value),
    z.array(of).min(1),
  )
}

/** Whether something can be made, for checks by what makes it. */
export function isMade(make: () => unknown): boolean {
  try {
    make()
    return true
  } catch {
    return false
  }
}

/** A mapping from names to values, for the layers that are checked one by one. */
export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What kind of value was found, for messages. */
export function kindOf(value: unknown): string {
  if (value === undefined || value === null) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (value === '') return 'empty text'
  return (
    { string: 'a string', number: 'a number', bigint: 'a number', boolean: `${value}` }[typeof value as string] ??
    'a mapping'
  )
}

/** The keys of the mapping at a path. */
function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: unknown = schema
  for (const key of path) at = at instanceof z.ZodObject ? at.shape[String(key)] : undefined
  while (at instanceof z.ZodOptional) at = at.unwrap()
  return at instanceof z.ZodObject ? Object.keys(at.shape) : []
}

function unknownKey(key: string, known: readonly string[]): string {
  const meant = nearest(key, known)
  return meant === undefined
    ? `unknown key: expected ${known.length === 1 ? '' : 'one of '}${known.join(', ')}`
    : `unknown key: did you mean ${meant}?`
}

const kinds: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  object: 'a mapping of keys',
  record: 'a mapping',
  array: 'a list',
}

function expected(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type') return kinds[issue.expected] ?? issue.expected
  if (issue.code === 'invalid_value') return `${issue.values.length > 1 ? 'one of ' : ''}${issue.values.join(', ')}`
  if (issue.code === 'too_small')
    return (
      { string: 'text that is not empty', array: 'a list that is not empty' }[issue.origin as string] ??
      `at least ${issue.minimum}`
    )
  if (issue.code === 'too_big') return `at most ${issue.maximum}`
  return issue.message.replace(/^expected /, '')
}

function found({ code, input }: z.core.$ZodIssue): string {
  if (typeof input === 'number') return code === 'invalid_type' && Number.isInteger(input) ? 'a number' : String(input)
  return kindOf(input)
}
