import { maskPasswords } from '../mask-passwords.ts'
import { type Checked, checkKeys, isMapping, kindOf } from './check-keys.ts'
import type { Problem } from './config-error.ts'
import { nearest } from './nearest.ts'
import type { OpenContext, Opened, Parts, Role, RoleName } from './scheme.ts'
import { schemes } from './schemes.ts'

/** One part of a route as it was configured: checked, not yet open. */
export interface Endpoint<T> {
  /** For people and logs, without a password: `redis://127.0.0.1:6379/0?key=orders`. The same for the same log. */
  readonly name: string
  /** The keys beside the URL, with their defaults. */
  readonly options: Readonly<Record<string, unknown>>
  open(context: OpenContext): Promise<Opened<T>>
  /** Another log at the same place, with the same keys: `by` is its table, topic, key or subject, of NATS also `stream/subject`. */
  elsewhere(by: string): Checked<Endpoint<T>>
}

/** Whether the source at a URL, as it was configured, hears a notifier. */
export function hearsNotifier(url: unknown): boolean {
  const protocol = /^[a-z][a-z0-9+.-]*:/i.exec(String(url))?.[0].toLowerCase() ?? ''
  return schemes.some((scheme) => scheme.protocols.includes(protocol) && scheme.hearsNotifier === true)
}

/** Options of `parseEndpoint`. */
export interface ParseEndpointOptions {
  /** The keys that lead to it, for the problems. */
  readonly path: readonly string[]
  /** Relative paths in the URL are relative to this folder. */
  readonly folder: string
}

/**
 * Reads `{ url, … }`, where the URL's scheme decides which keys may stand beside it. They may as well stand in the URL's
 * query: `sqlite:shop.db?table=events`.
 */
export function parseEndpoint<R extends RoleName>(
  roleName: R,
  value: unknown,
  { path, folder }: ParseEndpointOptions,
): Checked<Endpoint<Parts[R]>> {
  const wrong = (message: string, ...key: string[]): Checked<never> => ({
    problems: [{ path: [...path, ...key], message }],
  })
  if (!isMapping(value)) return wrong(`expected a mapping with a url, found ${kindOf(value)}`)
  const { url, ...beside } = value
  const usable = schemes.filter((scheme) => scheme.roles[roleName] !== undefined)
  const forms = `expected a URL like ${usable.map((scheme) => scheme.form).join(' or ')}`
  if (typeof url !== 'string') return wrong(`${forms}, found ${kindOf(url)}`, 'url')

  const protocol = /^[a-z][a-z0-9+.-]*:/i.exec(url)?.[0].toLowerCase() ?? ''
  const scheme = schemes.find(({ protocols }) => protocols.includes(protocol))
  const role = scheme?.roles[roleName] as Role<Parts[R]> | undefined
  if (scheme === undefined || role === undefined) {
    if (scheme !== undefined) return wrong(`${forms}, since ${protocol} cannot be used as ${roleName}`, 'url')
    const near = nearest(
      protocol,
      usable.flatMap(({ protocols }) => protocols),
    )
    return wrong(
      `${forms}, found ${protocol || 'no scheme'}${near === undefined ? '' : ` (did you mean ${near}?)`}`,
      'url',
    )
  }

  const problems: Problem[] = []
  const [bare = '', query = ''] = url.split(/\?(.*)/s)
  const options: Record<string, unknown> = { ...beside }
  for (const [key, given] of new URLSearchParams(query)) {
    if (key in options)
      problems.push({
        path: [...path, 'url'],
        message: `${key} is given more than once: in the URL's query, and again`,
      })
    options[key] = given
  }
  if (options['password'] !== undefined && maskPasswords(bare) !== bare)
    problems.push({ path: [...path, 'password'], message: 'the password is in the url already: give it once' })
  const checked = checkKeys(role.keys, options, path)
  problems.push(...checked.problems)
  const location = { url: bare, folder }
  let name = ''
  try {
    name = scheme.name(location)
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    problems.push({ path: [...path, 'url'], message: error.message })
  }
  if (checked.value === undefined || problems.length > 0) return { problems }
  return {
    value: {
      name: `${name}?${role.by}=${String(checked.value[role.by])}`,
      options: checked.value,
      open: (context) => role.open(location, checked.value, context),
      elsewhere: (by) => {
        const [stream, subject] = role.by === 'subject' ? by.split(/\/(.*)/s) : []
        const other = subject === undefined ? { [role.by]: by } : { stream, subject }
        const { topics, ...same } = options // of a template, which the other one need not be
        const kept = topics !== undefined && by.includes('{') ? { topics } : {}
        return parseEndpoint(roleName, { url: bare, ...same, ...kept, ...other }, { path, folder })
      },
    },
    problems: [],
  }
}
