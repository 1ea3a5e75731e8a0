import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Event } from '../../src/core/event.ts'
import { type Config, parseConfig } from '../../src/service/config/parse-config.ts'
import { jsonLines, run } from './command.ts'
import { sqliteShop } from './sqlite-shop.ts'

/** A configuration with one route, in a folder with these files. */
function parse(keys: string, { sink = 'redis://127.0.0.1?key=orders', files = {} }: Options = {}): Config {
  const folder = mkdtempSync(join(tmpdir(), 'reflex-config-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  const text = `routes:\n  orders:\n    source: sqlite:shop.db\n    sink: { url: '${sink}' }\n${keys}`
  return parseConfig(text.replace('source: sqlite:shop.db', 'source: { url: sqlite:shop.db }'), {
    title: 'bridge.yaml',
    folder,
    environment: {},
  })
}
interface Options {
  readonly sink?: string
  readonly files?: Readonly<Record<string, string>>
}

const event: Event = {
  id: '7',
  type: 1,
  foreignId: 'o1',
  timestamp: 0,
  metadata: Buffer.from('{}'),
  headers: { customer: 'c1' },
}

/** What becomes of an event. */
const after = (keys: string, options?: Options, parts: Partial<Event> = {}): Event | undefined =>
  parse(keys, options).routes[0]?.transform?.({ ...event, ...parts })

describe('a module that prints to stdout, exits and sets an exit code', () => {
  const noisy = `
    console.log('loaded')
    process.exitCode = 7
    setTimeout(() => process.stdout.write('later\\n'), 0)
    Promise.resolve().then(() => console.info('soon'))
    export const transform = (event) => {
      console.log('at', event.id)
      process.exitCode = 8
      return event
    }`
  const shop = (module: string): string => {
    const cwd = sqliteShop(2)
    writeFileSync(join(cwd, 'own.ts'), module)
    const route = '{ source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: log }, transform: ./own.ts }'
    writeFileSync(join(cwd, 'bridge.yaml'), `createTables: true\nroutes:\n  orders: ${route}\n`)
    return cwd
  }

  it('spoils neither the output of run, verify and check, nor their exit codes', async () => {
    const cwd = shop(noisy)
    for (const args of [['run', '--once'], ['verify'], ['check']]) {
      const [command = '', ...more] = args
      const { code, stdout, stderr } = await run([command, 'bridge.yaml', '--json', ...more], { cwd })
      expect([command, code]).toEqual([command, 0])
      for (const line of jsonLines(stdout)) expect(line).toBeTypeOf('object')
      expect(stdout).not.toMatch(/loaded|soon|later|at \d/)
      expect(stderr).toMatch(/^loaded$/m)
      expect(stderr).toMatch(/^soon$/m)
      if (command !== 'check') expect(stderr).toMatch(/^at 1\nat 2$/m)
    }
    expect((await run(['purge', 'bridge.yaml', 'orders'], { cwd })).code).toBe(0) // it says no exit code of its own
  })

  it('does not end the process: as it loads it is refused, and at an event the route ends, in every command', async () => {
    const loads = shop('process.exit(0)\nexport const transform = (event) => event')
    for (const command of ['run', 'verify', 'check']) {
      const { code, stderr } = await run([command, 'bridge.yaml'], { cwd: loads })
      expect([command, code]).toEqual([command, 2])
      expect(stderr).toMatch(
        /orders\.transform: expected a module .*, found a call of process\.exit\(0\) in \.\/own\.ts/,
      )
    }
    const cwd = shop('export const transform = (event) => { if (event.id === "2") process.exit(0); return event }')
    const ended = await run(['run', 'bridge.yaml', '--json'], { cwd })
    expect(ended.code).toBe(1)
    expect(jsonLines(ended.stdout).at(-1)).toMatchObject({ level: 'error', code: 'TRANSFORM_INVALID', position: '1' })
  })
})

describe('what a route does with its events', () => {
  it('is nothing where its keys say nothing', () => {
    expect(parse('').routes[0]?.transform).toBeUndefined()
  })

  it('is done in the order that its keys make sense in, whatever the order that they stand in', () => {
    const keys = `
    key: '{headers.customer}'
    cloudEvents: { source: /shop, type: 'com.shop.{typeName}', contentType: text/plain }
    headers: { entity: 'order/{foreignId}', kind: '{typeName}', plain: x }
    typeNames: { 1: order.created, 2: order.paid, 13: order.moved }
    transform: ./own.ts
    types: [1, 3]`
    const files = {
      'own.ts':
        'export const transform = (event: { type: number }) => event.type === 3 ? { ...event, type: 13 } : event',
    }
    expect(after(keys, { files, sink: 'kafka://127.0.0.1?topic=orders' })).toEqual({
      ...event,
      foreignId: 'c1',
      headers: {
        customer: 'c1',
        'type-name': 'order.created',
        entity: 'order/o1',
        kind: 'order.created',
        plain: 'x',
        ce_id: '7',
        ce_source: '/shop',
        ce_specversion: '1.0',
        ce_type: 'com.shop.order.created',
        ce_time: '1970-01-01T00:00:00.000000Z',
        ce_subject: 'o1',
        'content-type': 'text/plain',
      },
    })
    expect(after(keys, { files }, { type: 2 })).toBeUndefined()
    expect(after(keys, { files }, { type: 3 })?.headers).toMatchObject({
      kind: 'order.moved',
      'ce-datacontenttype': 'text/plain',
    })
  })

  it('refuses a null payload only when told to', () => {
    expect(after('    tombstones: keep', {}, { metadata: null })).toBeUndefined() // there is nothing to do
    expect(() => after('    tombstones: refuse', {}, { metadata: null })).toThrow(/its payload is null/)
  })

  it('tells everything that is wrong at once, with path and line', () => {
    const keys = `
    types: [1, x, 1.5, 4294967296]
    tombstones: drop
    typeNames:
      1: order.created
      paid: order.paid
      2: ''
    headers:
      tenant: '{tenant}'
      reflex-type: x
    cloudEvents:
      source: my shop
      kind: x
    key: '{'
    transform: 7`
    const template =
      'expected text in which braces are {id}, {type}, {typeName}, {foreignId} or {headers.NAME}, or doubled, found a string'
    expect(() => parse(keys)).toThrow(
      expect.objectContaining({
        message: `bridge.yaml: 12 errors
  routes.orders.types.1: expected a number, found a string (line 6)
  routes.orders.types.2: expected a whole number, found 1.5 (line 6)
  routes.orders.types.3: expected at most 2147483647, found 4294967296 (line 6)
  routes.orders.tombstones: expected one of keep, refuse, found a string (line 7)
  routes.orders.typeNames.paid: expected a type before it: a 32-bit integer, found a string (line 10)
  routes.orders.typeNames.2: expected text that is not empty, found empty text (line 11)
  routes.orders.headers.tenant: ${template} (line 13)
  routes.orders.headers.reflex-type: expected a name that is not one of the wire, found a string (line 14)
  routes.orders.cloudEvents.source: expected a URI reference like /shop/orders, found a string (line 16)
  routes.orders.cloudEvents.kind: unknown key: expected one of source, type, contentType (line 17)
  routes.orders.key: ${template} (line 18)
  routes.orders.transform: expected a string, found a number (line 19)`,
      }),
    )
  })

  it.each([
    [
      'no module',
      undefined,
      /routes\.orders\.transform: expected a module that exports a function transform, found Cannot find module .*own\.ts.*\(line 5\)/,
    ],
    [
      'none',
      'export const transforms = (e: object) => e',
      /found one that exports transforms \(is transforms meant\?\)/,
    ],
    ['no function', 'export const transform: number = 7', /found a number under that name/],
    ['top-level await', 'await 1; export const transform = (e: object) => e', /found one with top-level await/],
    ['what throws', 'throw new Error("not today")', /found not today/],
    [
      'what cannot be read',
      'export const transform = (',
      /expected a module that exports a function transform, found /,
    ],
  ])('says what is wrong with a module that exports %s', (_, module, message) => {
    expect(() => parse('    transform: ./own.ts', module === undefined ? {} : { files: { 'own.ts': module } })).toThrow(
      message,
    )
  })
})

describe('where a route goes', () => {
  const problems = (sink: string): unknown => {
    try {
      return parse('', { sink }).routes[0]?.sink.options
    } catch (error) {
      return (error as Error).message.replaceAll('bridge.yaml: routes.orders.sink.', '').split('\n  ')
    }
  }

  it.each([
    ['nats://h?stream=S&subject=shop.{type}.{foreignId}', { subject: 'shop.{type}.{foreignId}' }],
    ['nats://h?stream=S&subject=shop', { subject: 'shop' }],
    ['kafka://h?topic=orders', { topic: 'orders' }],
    [
      'kafka://h?topic=orders.{type}&topics=orders.1, orders.2',
      { topic: 'orders.{type}', topics: ['orders.1', 'orders.2'] },
    ],
  ])('%s may be a template', (sink, options) => {
    expect(problems(sink)).toMatchObject(options)
  })

  it.each([
    [
      'nats://h?stream=S&subject={type}',
      /^subject: expected a subject without wildcards, like orders, or a template like/,
    ],
    ['nats://h?stream=S&subject=shop.{x}', /^subject: expected a subject without wildcards/],
    ['kafka://h?topic=orders.{x}&topics=a', /^topic: expected text in which braces are \{id\}/],
    [
      'kafka://h?topic=orders.{type}',
      /^topics: expected a list of all topics that events may go to, since topic is a template, found nothing/,
    ],
    [
      'kafka://h?topic=orders&topics=a',
      /^topics: expected topic to be a template beside it, like orders\.\{type\}, found a list/,
    ],
    ['kafka://h?topic=orders.{type}&topics=a/b', /^topics\.0: expected the name of a topic, found a string/],
  ])('%s is refused', (sink, message) => {
    expect(problems(sink)).toEqual([expect.stringMatching(message)])
  })
})
