import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from 'yaml'
import { z } from 'zod'
import type { DeadLetters } from '../../bridge/dead-letters.ts'
import type { Transform } from '../../bridge/transform.ts'
import type { CursorStore } from '../../core/cursor.ts'
import { messageOf } from '../../core/errors.ts'
import type { Sink } from '../../core/sink.ts'
import type { Source } from '../../core/stream.ts'
import { type AdminConfig, parseAdmin } from '../admin/parse-admin.ts'
import { type Checked, checkKeys, count, flag, isMapping, kindOf } from './check-keys.ts'
import { clashes } from './clashes.ts'
import { ConfigError, type Problem } from './config-error.ts'
import { type Endpoint, parseEndpoint } from './parse-endpoint.ts'
import { parseSource } from './parse-source.ts'
import { parseTransform, transformKeys } from './parse-transform.ts'
import type { ControlStore } from './scheme.ts'
import { type Environment, substituteEnvironment } from './substitute-environment.ts'

/** From the most to the least; `silent` logs nothing. */
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const

/** How much is logged. */
export type LogLevel = (typeof logLevels)[number]

/** A checked configuration. */
export interface Config {
  readonly routes: readonly RouteConfig[]
  readonly logLevel: LogLevel
  /** Tables that are missing are created. */
  readonly createTables: boolean
  /** The routes are shared with other processes: for how long, in ms, one that dies keeps a route from them. Undefined: they are not. */
  readonly standby?: { readonly leaseMs: number }
  /** What is under way when the process is told to stop may take so long to be confirmed, in ms, and is then abandoned. */
  readonly drainMs: number
  /** Where the admin server listens; undefined for none. */
  readonly admin?: AdminConfig
}

/** One route, checked, not yet open. */
export interface RouteConfig {
  readonly name: string
  readonly source: Endpoint<Source>
  readonly sink: Endpoint<Sink>
  readonly checkpoints: Endpoint<CursorStore>
  /** What operators want of the route, and its lease: where the checkpoints are. */
  readonly control: Endpoint<ControlStore>
  /** Where events go that can never be sent through their own fault; undefined: the route stops at one. */
  readonly deadLetters?: Endpoint<DeadLetters> | undefined
  /** While there is no checkpoint, start at the source's head instead of its earliest event. */
  readonly fromHead: boolean
  /** What happens to each event in between; undefined for nothing. */
  readonly transform?: Transform | undefined
}

/** Options of `parseConfig`. */
export interface ParseConfigOptions {
  /** Names the text in errors: the file's path. */
  readonly title: string
  /** Relative paths are relative to this folder. */
  readonly folder: string
  /** What `${NAME}` is replaced from. */
  readonly environment: Environment
}

/** With standby, a process that dies keeps its routes from others for so long. */
const LEASE_MS = 10_000
const DRAIN_MS = 10_000
/** Stores that have a clock, which leases go by. */
const LEASED = ['mysql:', 'sqlite:']

const topKeys = z.strictObject({
  routes: z.unknown().optional(),
  logLevel: z.enum(logLevels).default('info'),
  createTables: flag.default(false),
  standby: flag.default(false),
  leaseMs: count(1000).optional(),
  drainMs: count(0).default(DRAIN_MS),
  admin: z.unknown().optional(),
})

const routeKeys = z.strictObject({
  source: z.unknown().optional(),
  sink: z.unknown().optional(),
  checkpoints: z.unknown().optional(),
  deadLetters: z.unknown().optional(),
  fromHead: flag.default(false),
  ...transformKeys,
})

/** Reads a configuration in YAML or JSON. Throws a `ConfigError` with everything that is wrong in it. */
export function parseConfig(text: string, { title, folder, environment }: ParseConfigOptions): Config {
  const lines = new LineCounter()
  // Not pretty: that would quote the text, and with it a password.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  if (document.errors.length > 0) {
    throw new ConfigError(
      title,
      document.errors.map(({ code, message, pos }) => ({
        path: [],
        message: code === 'MULTIPLE_DOCS' ? 'expected one document, found another one after ---' : message,
        line: lines.linePos(pos[0]).line,
      })),
    )
  }
  const problems = substitute(document, environment, lines)
  const { value, problems: found } = checkConfig(plainOf(document, title), folder)
  const known = new Set(problems.map(({ path }) => path.join('\n')))
  for (const problem of found) {
    // What follows from a variable that is not set is not told as well.
    if (!known.has(problem.path.join('\n'))) problems.push({ ...problem, line: lineOf(document, problem.path, lines) })
  }
  if (value === undefined || problems.length > 0) {
    throw new ConfigError(
      title,
      problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0)),
    )
  }
  return value
}

/** A few lines of aliases of aliases may stand for more than any memory holds: that is refused, and so is one of what is not there. */
function plainOf(document: Document, title: string): unknown {
  try {
    return document.toJS()
  } catch (error) {
    const [, name] = /^Unresolved alias .*: (.*)$/.exec(messageOf(error)) ?? []
    const message =
      name === undefined
        ? 'expected few aliases (*name), found too many of them'
        : `expected an anchor &${name} before the alias *${name}, found none`
    throw new ConfigError(title, [{ path: [], message }])
  }
}

/** Replaces the references to the environment in all values, in place; a value that cannot be replaced stays as it is. */
function substitute(document: Document, environment: Environment, lines: LineCounter): Problem[] {
  const problems: Problem[] = []
  visit(document, {
    Scalar: (key, node, ancestors) => {
      if (key === 'key' || typeof node.value !== 'string') return
      try {
        node.value = substituteEnvironment(node.value, environment)
      } catch (error) {
        if (!(error instanceof RangeError)) throw error
        const line = lines.linePos(node.range?.[0] ?? 0).line
        problems.push({ path: pathOf(key, node, ancestors), message: error.message, line })
      }
    },
  })
  return problems
}

/** The keys that lead to a node. */
function pathOf(key: number | string | null, node: Node, ancestors: readonly unknown[]): string[] {
  const path: string[] = []
  for (const [i, ancestor] of ancestors.entries()) {
    const child = ancestors[i + 1] ?? node
    if (isSeq(ancestor)) path.push(String(child === node ? key : ancestor.items.indexOf(child)))
    else if (isPair(ancestor)) path.push(String(isScalar(ancestor.key) ? ancestor.key.value : ancestor.key))
  }
  return path
}

function isPair(value: unknown): value is { readonly key: unknown; readonly value: unknown } {
  return typeof value === 'object' && value !== null && 'key' in value && 'value' in value && !isScalar(value)
}

/** The line of the key at a path, or of the nearest mapping around it that is there. */
function lineOf(document: Document, path: readonly string[], lines: LineCounter): number | undefined {
  let node: unknown = document.contents
  let offset: number | undefined = document.contents?.range?.[0]
  for (const key of path) {
    if (isAlias(node)) node = node.resolve(document)
    if (!isMap(node)) break
    const pair = node.items.find(({ key: each }) => isScalar(each) && String(each.value) === key)
    if (pair === undefined) break
    offset = (pair.key as Node).range?.[0] ?? offset
    node = pair.value
  }
  return offset === undefined ? undefined : lines.linePos(offset).line
}

function checkConfig(value: unknown, folder: string): Checked<Config> {
  const top = checkKeys(topKeys, value, [])
  const problems: Problem[] = [...top.problems]
  const routes: RouteConfig[] = []
  const given = isMapping(value) ? value['routes'] : undefined
  if (isMapping(given) && Object.keys(given).length > 0) {
    for (const [name, route] of Object.entries(given)) {
      const checked = checkRoute(name, route, folder)
      problems.push(...checked.problems)
      if (checked.value !== undefined) routes.push(checked.value)
    }
  } else if (isMapping(value)) {
    const found = isMapping(given) ? 'an empty one' : kindOf(given)
    problems.push({ path: ['routes'], message: `expected a mapping from names to routes, found ${found}` })
  }
  const admin = isMapping(value) && value['admin'] !== undefined ? parseAdmin(value['admin']) : undefined
  problems.push(...clashes(routes), ...(admin?.problems ?? []))
  if (top.value?.standby) problems.push(...unleased(routes))
  else if (top.value?.leaseMs !== undefined)
    problems.push({ path: ['leaseMs'], message: 'expected standby: true beside it: without that there are no leases' })
  if (top.value === undefined || problems.length > 0) return { problems }
  const { logLevel, createTables, standby, leaseMs = LEASE_MS, drainMs } = top.value
  return {
    value: {
      ...{ routes, logLevel, createTables, drainMs },
      ...(standby ? { standby: { leaseMs } } : {}),
      ...(admin?.value === undefined ? {} : { admin: admin.value }),
    },
    problems: [],
  }
}

function checkRoute(name: string, value: unknown, folder: string): Checked<RouteConfig> {
  const path = ['routes', name]
  const problems: Problem[] = []
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) {
    const message = 'expected a name of letters, digits, ".", "_" and "-", at most 64: the checkpoint is kept under it'
    problems.push({ path, message })
  }
  const keys = checkKeys(routeKeys, value, path)
  problems.push(...keys.problems)
  if (!isMapping(value)) return { problems }
  const source = parseSource(value['source'], { path: [...path, 'source'], folder })
  const sink = parseEndpoint('sink', value['sink'], { path: [...path, 'sink'], folder })
  const kept = value['checkpoints'] ?? besideSource(value['source'], source.value)
  const checkpoints = parseEndpoint('checkpoints', kept, { path: [...path, 'checkpoints'], folder })
  const deadLetters =
    value['deadLetters'] === undefined
      ? undefined
      : parseEndpoint('deadLetters', value['deadLetters'], { path: [...path, 'deadLetters'], folder })
  const control = parseEndpoint('control', kept, { path: [...path, 'checkpoints'], folder })
  problems.push(...source.problems, ...sink.problems, ...(deadLetters?.problems ?? []))
  if (kept !== undefined) problems.push(...checkpoints.problems)
  if (source.value !== undefined && source.value.name === sink.value?.name) {
    problems.push({
      path: [...path, 'sink'],
      message: 'expected another log than the source: it would be forwarded into itself without end',
    })
  }
  const binding = sink.value?.name.startsWith('kafka:') ? 'kafka' : 'nats'
  const transform = keys.value && parseTransform(keys.value, { path, folder, binding })
  problems.push(...(transform?.problems ?? []))
  if (!keys.value || !source.value || !sink.value || problems.length > 0) return { problems }
  if (!checkpoints.value || !control.value) return { problems }
  const { fromHead } = keys.value
  return {
    value: {
      name,
      source: source.value,
      sink: sink.value,
      checkpoints: checkpoints.value,
      control: control.value,
      deadLetters: deadLetters?.value,
      fromHead,
      transform: transform?.value,
    },
    problems: [],
  }
}

/** Where the checkpoints are kept by default: at the source's URL. Undefined if the source is wrong. */
function besideSource(given: unknown, source: Endpoint<Source> | undefined): unknown {
  if (source === undefined || !isMapping(given)) return undefined
  const login = Object.entries(source.options).filter(
    ([key, value]) => ['password', 'tls', 'ca'].includes(key) && value !== undefined,
  )
  return { url: String(given['url']).split('?')[0], ...Object.fromEntries(login) }
}

/** Routes that standby cannot be for. */
function unleased(routes: readonly RouteConfig[]): Problem[] {
  return routes
    .filter(({ checkpoints }) => !LEASED.some((protocol) => checkpoints.name.startsWith(protocol)))
    .map(({ name }) => {
      const message =
        'expected mysql: or sqlite: with standby, since the leases are kept beside the checkpoints and need a clock there: set checkpoints: { url: mysql://… }'
      return { path: ['routes', name, 'checkpoints'], message }
    })
}
