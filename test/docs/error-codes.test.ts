import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { parseAst } from 'vitest/node'

/** A node of a syntax tree (ESTree). */
type Node = { readonly type: string; readonly [key: string]: unknown }

/** A code that the source makes: `KAFKA_*` is what comes of a broker's own names. Nothing where no code could be told. */
interface Made {
  readonly line: number
  readonly codes: readonly string[]
}

const UNKNOWN = '*'
const KINDS = ['retriable', 'fatal', 'poison', 'auth', 'quota', 'read-only', 'oversize', 'fenced']
const CODE = /^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*(?:_\*)?$/

/** Where errors are made in a source file, with the codes that they can have. `subclasses`: only by classes that extend ReflexError. */
function madeIn(source: string, { subclasses = false } = {}): Made[] {
  const { nodes, texts } = reader(parseAst(source, { lang: 'ts' }) as unknown as Node)
  const made: Made[] = []
  const add = (node: Node, code: Node | undefined): void => {
    const line = source.slice(0, node['start'] as number).split('\n').length
    made.push({ line, codes: code === undefined ? [] : texts(code).filter((text) => CODE.test(text)) })
  }
  for (const node of nodes) {
    const first = list(node['arguments'])[0]
    if (node.type === 'NewExpression' && nameOf(node['callee']) === 'ReflexError' && !subclasses) add(node, first)
    if (node.type === 'ClassDeclaration' && nameOf(node['superClass']) === 'ReflexError')
      for (const inner of descendants(node))
        if (inner.type === 'CallExpression' && isNode(inner['callee']) && inner['callee'].type === 'Super')
          add(inner, list(inner['arguments'])[0])
    // An error on its way from another thread; what is written in small letters is another library's.
    if (node.type === 'ObjectExpression' && !subclasses)
      for (const property of list(node['properties'])) {
        const { value } = property
        if (nameOf(property['key']) !== 'code' || !isNode(value) || typeof value['value'] !== 'string') continue
        if (CODE.test(value['value'])) add(property, value)
      }
  }
  // What is said about a broker's own names, each with its kind, is said about codes.
  for (const family of made.flatMap(({ codes }) => codes).filter((code) => /^[A-Z]+_\*$/.test(code)))
    for (const node of nodes) {
      const rows = node.type === 'ObjectExpression' ? list(node['properties']) : []
      if (rows.length === 0 || !rows.every(({ value }) => isNode(value) && isAdvice(value))) continue
      const names = rows.map(({ key }) => nameOf(key) ?? String((key as Node)['value']))
      made.push({ line: 0, codes: names.map((name) => family.replace(UNKNOWN, name)) })
    }
  return made
}

function isAdvice({ type, elements }: Node): boolean {
  const [, kind, ...more] = list(elements)
  return type === 'ArrayExpression' && KINDS.includes(String(kind?.['value'])) && more.length === 0
}

/** All nodes of a tree, and the texts that an expression in it can be, as far as its file tells. */
function reader(program: Node): { readonly nodes: readonly Node[]; texts(expression: Node): readonly string[] } {
  const nodes = [...descendants(program)]
  const parents = new Map<Node, Node>()
  for (const node of nodes) for (const child of childrenOf(node)) parents.set(child, node)

  function texts(node: Node): readonly string[] {
    const inner = node['expression']
    switch (node.type) {
      case 'Literal':
        return [typeof node['value'] === 'string' ? node['value'] : UNKNOWN]
      case 'TemplateLiteral':
        return list(node['expressions']).reduce<readonly string[]>(
          (starts, each, i) => starts.flatMap((start) => texts(each).map((text) => start + text + quasi(node, i + 1))),
          [quasi(node, 0)],
        )
      case 'ConditionalExpression':
        return [node['consequent'], node['alternate']].flatMap((each) => texts(each as Node))
      case 'LogicalExpression':
        return [node['left'], node['right']].flatMap((each) => texts(each as Node))
      case 'CallExpression': {
        const { object, property } = node['callee'] as Node
        return isNode(object) && nameOf(property) === 'toUpperCase'
          ? texts(object).map((text) => text.toUpperCase())
          : [UNKNOWN]
      }
      case 'Identifier':
        return named(node['name'] as string, node)
      default:
        return isNode(inner) ? texts(inner) : [UNKNOWN] // `as`, `!` and parentheses
    }
  }
  /** Of a name, as it is declared nearest to its use. */
  function named(name: string, use: Node): readonly string[] {
    for (let scope = parents.get(use); scope !== undefined; scope = parents.get(scope)) {
      const parameters = list(scope['params'])
      const index = parameters.findIndex((each) => bound(each).some((one) => one.name === name))
      if (index >= 0)
        return ofParameter(
          scope,
          index,
          bound(parameters[index] as Node).find((one) => one.name === name),
        )
      for (const statement of list(scope['body']))
        for (const { id, init } of list(statement['declarations']))
          if (nameOf(id) === name && isNode(init)) return texts(init)
          else if (bound(id as Node).some((one) => one.name === name)) return [UNKNOWN]
    }
    return [UNKNOWN]
  }
  /** What a function is called with in its file, its default, and what its type allows. */
  function ofParameter(callee: Node, index: number, { fallback, type }: Partial<Bound> = {}): readonly string[] {
    const name = nameOf(callee['id']) ?? nameOf(parents.get(callee)?.['id'])
    const calls = nodes.filter(
      (node) => node.type === 'CallExpression' && name !== undefined && nameOf(node['callee']) === name,
    )
    const given = calls.flatMap((call) => list(call['arguments'])[index] ?? [])
    const alias = nodes.find((node) => node.type === 'TSTypeAliasDeclaration' && nameOf(node['id']) === type)
    const union = list((alias?.['typeAnnotation'] as Node | undefined)?.['types']).map(
      (each) => each['literal'] as Node,
    )
    const all = [...given, ...union, ...(fallback === undefined ? [] : [fallback])]
    return all.length === 0 ? [UNKNOWN] : all.flatMap(texts)
  }
  return { nodes, texts: (expression) => [...new Set(texts(expression))] }
}

/** A name that a pattern binds. */
interface Bound {
  readonly name: string
  readonly fallback: Node | undefined
  readonly type: string | undefined
}

function bound(pattern: Node, fallback?: Node): readonly Bound[] {
  if (pattern.type === 'AssignmentPattern') return bound(pattern['left'] as Node, pattern['right'] as Node)
  if (pattern.type === 'ObjectPattern')
    return list(pattern['properties']).flatMap(({ value }) => (isNode(value) ? bound(value) : []))
  const type = (pattern['typeAnnotation'] as Node | null | undefined)?.['typeAnnotation'] as Node | undefined
  return [{ name: nameOf(pattern) ?? '', fallback, type: nameOf(type?.['typeName']) }]
}

function quasi(template: Node, index: number): string {
  return ((list(template['quasis'])[index] as Node)['value'] as { cooked: string }).cooked
}
function nameOf(node: unknown): string | undefined {
  return isNode(node) && node.type === 'Identifier' ? (node['name'] as string) : undefined
}
function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && 'type' in value
}
function list(value: unknown): readonly Node[] {
  return Array.isArray(value) ? value.filter(isNode) : []
}
function childrenOf(node: Node): readonly Node[] {
  return Object.values(node)
    .flatMap((value) => (Array.isArray(value) ? value : [value]))
    .filter(isNode)
}
function* descendants(node: Node): Generator<Node> {
  yield node
  for (const child of childrenOf(node)) yield* descendants(child)
}

const root = fileURLToPath(new URL('../..', import.meta.url))
const sites = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .flatMap((file) =>
    // What the test kit makes itself are the faults of systems that are played.
    madeIn(readFileSync(join(root, 'src', file), 'utf8'), { subclasses: /^testing\b/.test(file) }).map(
      ({ line, codes }) => ({ at: `src/${file}:${line}`, codes }),
    ),
  )
const inSource = [...new Set(sites.flatMap(({ codes }) => codes))].sort()

const section = /^## Error codes$([\s\S]*?)(?=^## |$(?![\s\S]))/m.exec(
  readFileSync(join(root, 'docs/operations.md'), 'utf8'),
)?.[1]
/** The codes in a text; `KAFKA_<name>` as `KAFKA_*`. */
const codesIn = (text: string): string[] =>
  Array.from(text.matchAll(/`([A-Z][A-Z0-9_]*(?:<\w+>)?)`/g), ([, code = '']) => code.replace(/<\w+>/, UNKNOWN))
const rows = (section ?? '').split('\n').filter((line) => line.startsWith('| `'))
const inDocument = rows.flatMap((row) => codesIn(row.split('|')[1] ?? ''))

describe('the codes of errors in docs/operations.md', () => {
  it('are all that the source can make, and no other', () => {
    expect(inDocument.toSorted()).toEqual(inSource)
  })

  it('are found in the source wherever an error is made', () => {
    expect(sites.filter(({ codes }) => codes.length === 0).map(({ at }) => at)).toEqual([])
    expect(inSource.length).toBeGreaterThan(100)
  })

  it('are spelled so where other rows speak of them', () => {
    const mentioned = rows.flatMap((row) => codesIn(row.split('|').slice(2).join('|')))
    expect(mentioned.filter((code) => code.includes('_') && !inSource.includes(code))).toEqual([])
  })

  it('have a meaning and an advice', () => {
    for (const row of rows) expect(row, row).toMatch(/^\| [^|]+ \| [^|\s][^|]* \| [^|\s][^|]* \|$/)
  })
})

describe('the reader of error codes', () => {
  const codes = (source: string): string[] =>
    madeIn(source)
      .flatMap((made) => made.codes)
      .toSorted()

  it('follows conditions, fallbacks, constants and the parameters of functions', () => {
    expect(codes(`throw new ReflexError(broken ? 'A_1' : (found ?? 'A_2'), 'why')`)).toEqual(['A_1', 'A_2'])
    expect(codes(`const code = 'B_1' as const; throw new ReflexError(code, 'why')`)).toEqual(['B_1'])
    expect(
      codes(`
        const explained = (code: string, advice: string): Error => new ReflexError(code, advice)
        const more = [explained('C_1', 'x'), explained('C_2', 'y')]`),
    ).toEqual(['C_1', 'C_2'])
    expect(codes(`function of({ code = 'D_1' }: Plain): Error { return new ReflexError(code, '') }`)).toEqual(['D_1'])
    expect(
      codes(`
        type Stage = 'open' | 'close'
        class RunError extends ReflexError {
          constructor(stage: Stage) { super(\`\${stage.toUpperCase()}_FAILED\`, 'why') }
        }`),
    ).toEqual(['CLOSE_FAILED', 'OPEN_FAILED'])
  })

  it('makes families of the names of others, of which those count that something is said about', () => {
    expect(
      codes(`
        const replies = { OOM: ['free memory', 'quota'], LOADING: ['wait', 'retriable'] }
        const names = { 1: 'OFFSET_OUT_OF_RANGE' }
        const of = (word: string): Error => new ReflexError(\`REDIS_\${word}\`, replies[word])`),
    ).toEqual(['REDIS_*', 'REDIS_LOADING', 'REDIS_OOM'].sort())
  })

  it('is not misled by what only looks like a code', () => {
    expect(
      codes(`
        const url = process.env['MYSQL_URL'] ?? context.env.KAFKA_IMAGE
        const started = start({ variable: 'KAFKA_BROKERS', code: 'custom' })
        if (codeOf(error) === 'KAFKA_TOPIC_ALREADY_EXISTS') throw new TypeError('NO_CODE')
        // throw new ReflexError('IN_COMMENT', '')`),
    ).toEqual([])
  })
})
