import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import type { Transform } from '../../bridge/transform.ts'
import {
  addHeaders,
  type CloudEventsBinding,
  type CloudEventsOptions,
  cloudEvents,
  compose,
  filter,
  keyBy,
  refuseTombstones,
  typeNames,
} from '../../bridge/transforms/index.ts'
import { messageOf } from '../../core/errors.ts'
import { asModule } from './as-module.ts'
import { type Checked, isMade, kindOf, template, text } from './check-keys.ts'
import { nearest } from './nearest.ts'

/** What a route's keys say of its events between source and sink. */
interface TransformKeys {
  /** Only these types are forwarded. */
  readonly types: number[] | undefined
  /** `refuse`: an event with a null payload is an error. */
  readonly tombstones: 'keep' | 'refuse'
  /** A module that exports a function `transform`. */
  readonly transform: string | undefined
  readonly typeNames: Record<string, string> | undefined
  /** Templates. */
  readonly headers: Record<string, string> | undefined
  readonly cloudEvents: Omit<CloudEventsOptions, 'binding'> | undefined
  /** A template of what the key is, instead of the foreignId. */
  readonly key: string | undefined
}

/** The keys that `parseTransform` reads. */
export const transformKeys: { readonly [Key in keyof TransformKeys]: z.ZodType<TransformKeys[Key]> } = {
  types: z.array(z.int32()).min(1).optional(),
  tombstones: z.enum(['keep', 'refuse']).default('keep'),
  transform: text.optional(),
  typeNames: keyed(text, (type) => isMade(() => typeNames({ [type]: 'x' })), 'a type before it: a 32-bit integer'),
  headers: keyed(template, (name) => isMade(() => addHeaders({ [name]: 'x' })), 'a name that is not one of the wire'),
  cloudEvents: z
    .strictObject({
      source: text.regex(/^[!-~]+$/, 'a URI reference like /shop/orders'),
      type: template.optional(),
      contentType: text.regex(/^[!-~]+\/[ -~]+$/, 'a media type like application/json').optional(),
    })
    .optional(),
  key: template.optional(),
}

/** Options of `parseTransform`. */
export interface ParseTransformOptions {
  /** The keys that lead to the route. */
  readonly path: readonly string[]
  /** The module's path is relative to this folder. */
  readonly folder: string
  /** How CloudEvents are written at the route's destination. */
  readonly binding: CloudEventsBinding
}

/**
 * One transform of all that a route's keys say, in this order: types, tombstones, the module, typeNames, headers, cloudEvents, key.
 * Undefined if they say nothing. Loads the module.
 */
export function parseTransform(
  { types, tombstones, transform: file, typeNames: names, headers, cloudEvents: attributes, key }: TransformKeys,
  { path, folder, binding }: ParseTransformOptions,
): Checked<Transform | undefined> {
  let own: Transform | undefined
  try {
    own = file === undefined ? undefined : loadTransform(file, folder)
  } catch (error) {
    return { problems: [{ path: [...path, 'transform'], message: messageOf(error) }] }
  }
  const steps = [
    types && filter(types),
    tombstones === 'refuse' ? refuseTombstones() : undefined,
    own,
    names && typeNames(names),
    headers && addHeaders(headers),
    attributes && cloudEvents({ binding, ...attributes }),
    key === undefined ? undefined : keyBy(key),
  ].filter((step) => step !== undefined)
  return { value: steps.length === 0 ? undefined : compose(...steps), problems: [] }
}

/** The function `transform` of a module. Throws a RangeError that says what was expected and what was found. */
function loadTransform(file: string, folder: string): Transform {
  const expected = 'expected a module that exports a function transform'
  let found: Readonly<Record<string, unknown>>
  try {
    // Not import(): so everything that is wrong in a configuration is told at once.
    const load = createRequire(join(folder, 'configuration.js'))
    found = asModule(file, () => load(resolve(folder, file)) as typeof found)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const [firstLine] = messageOf(error).split('\n')
    const why = code === 'ERR_REQUIRE_ASYNC_MODULE' ? 'one with top-level await, which cannot be waited for' : firstLine
    throw new RangeError(`${expected}, found ${why}`)
  }
  const { transform } = found
  if (typeof transform === 'function') return (event) => asModule(file, () => (transform as Transform)(event))
  const names = Object.keys(found).filter((name) => name !== '__esModule') // which Node adds
  const meant = nearest('transform', names)
  const exported = names.length === 0 ? 'one that exports nothing' : `one that exports ${names.join(', ')}`
  if (transform !== undefined) throw new RangeError(`${expected}, found ${kindOf(transform)} under that name`)
  throw new RangeError(`${expected}, found ${exported}${meant === undefined ? '' : ` (is ${meant} meant?)`}`)
}

/** A mapping with the keys that `isKey` takes. */
function keyed(
  value: z.ZodString,
  isKey: (key: string) => boolean,
  expected: string,
): z.ZodType<Record<string, string> | undefined> {
  return z
    .record(z.string(), value)
    .superRefine((given, context) => {
      for (const key of Object.keys(given))
        if (!isKey(key)) context.addIssue({ code: 'custom', path: [key], input: key, message: expected })
    })
    .optional()
}
