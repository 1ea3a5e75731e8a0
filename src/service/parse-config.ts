import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from 'yaml'
import { z } from 'zod'
import type { CursorStore } from '../core/cursor.ts'
import type { Sink } from '../core/sink.ts'
import type { Source } from '../core/stream.ts'
import { type Checked, checkKeys, flag, isMapping, kindOf } from './check-keys.ts'
import { ConfigError, type Problem } from './config-error.ts'
import { type Endpoint, parseEndpoint } from './parse-endpoint.ts'
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
}

/** One route, checked, not yet open. */
export interface RouteConfig {
  readonly name: string
  readonly source: Endpoint<Source>
  readonly sink: Endpoint<Sink>
  readonly checkpoints: Endpoint<CursorStore>
  /** While there is no checkpoint, start at the source's head instead of its earliest event. */
  readonly fromHead: boolean
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

const topKeys = z.strictObject({
  routes: z.unknown().optional(),
  logLevel: z.enum(logLevels).default('info'),
  createTables: flag.default(false),
})

const routeKeys = z.strictObject({
  source: z.unknown().optional(),
  sink: z.unknown().optional(),
  checkpoints: z.unknown().optional(),
  fromHead: flag.default(false),
})

/** Reads a configuration in YAML or JSON. Throws a `ConfigError` with everything that is wrong in it. */
export function parseConfig(text: string, { title, folder, environment }: ParseConfigOptions): Config {
  const lines = new LineCounter()
  // Not pretty: that would quote the text, and with it a password.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  if (document.errors.length > 0) {
    throw new ConfigError(
      title,
      document.errors.map(({ message, pos }) => ({ path: [], message, line: lines.linePos(pos[0]).line })),
    )
  }
  const problems = substitute(document, environment, lines)
  const { value, problems: found } = checkConfig(document.toJS(), folder)
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
  problems.push(...clashes(routes))
  if (top.value === undefined || problems.length > 0) return { problems }
  const { logLevel, createTables } = top.value
  return { value: { routes, logLevel, createTables }, problems: [] }
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
  const source = parseEndpoint('source', value['source'], { path: [...path, 'source'], folder })
  const sink = parseEndpoint('sink', value['sink'], { path: [...path, 'sink'], folder })
  const kept = value['checkpoints'] ?? besideSource(value['source'], source.value)
  const checkpoints = parseEndpoint('checkpoints', kept, { path: [...path, 'checkpoints'], folder })
  problems.push(...source.problems, ...sink.problems)
  if (kept !== undefined) problems.push(...checkpoints.problems)
  if (source.value !== undefined && source.value.name === sink.value?.name) {
    problems.push({
      path: [...path, 'sink'],
      message: 'expected another log than the source: it would be forwarded into itself without end',
    })
  }
  if (!keys.value || !source.value || !sink.value || !checkpoints.value || problems.length > 0) return { problems }
  const { fromHead } = keys.value
  return {
    value: { name, source: source.value, sink: sink.value, checkpoints: checkpoints.value, fromHead },
    problems: [],
  }
}

/** Where the checkpoints are kept by default: at the source's URL. Undefined if the source is wrong. */
function besideSource(given: unknown, source: Endpoint<Source> | undefined): unknown {
  if (source === undefined || !isMapping(given)) return undefined
  const { password } = source.options
  return { url: String(given['url']).split('?')[0], ...(password === undefined ? {} : { password }) }
}

/** Routes that would hinder each other. */
function clashes(routes: readonly RouteConfig[]): Problem[] {
  return routes.flatMap((route, i) => {
    const other = routes
      .slice(0, i)
      .find(({ sink }) => sink.name === route.sink.name && (isExclusive(sink) || isExclusive(route.sink)))
    if (other === undefined) return []
    const message = `expected a log of its own, since ids: source needs one, but the route ${other.name} goes there too`
    return [{ path: ['routes', route.name, 'sink'], message }]
  })
}

function isExclusive({ options }: Endpoint<Sink>): boolean {
  return options['ids'] === 'source'
}
