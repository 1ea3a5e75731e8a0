// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the references to the environment are not template strings
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { ConfigError } from '../../src/service/config/config-error.ts'
import { type Config, parseConfig } from '../../src/service/config/parse-config.ts'

const parse = (text: string, environment: Record<string, string> = {}): Config =>
  parseConfig(text, { title: 'bridge.yaml', folder: '/srv', environment })

/** The lines of the error, without the title. */
function problems(text: string, environment: Record<string, string> = {}): string[] {
  try {
    parse(text, environment)
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError)
    const [title = '', ...lines] = (error as ConfigError).message.split('\n')
    expect(title).toMatch(lines.length === 0 ? /^bridge\.yaml: ./ : /^bridge\.yaml: \d+ errors$/)
    return lines.length === 0 ? [title.replace('bridge.yaml: ', '')] : lines.map((line) => line.trim())
  }
  throw new Error('it was accepted')
}

/** The same; none if it is accepted. */
function wrong(text: string): string[] {
  try {
    parse(text)
  } catch {
    return problems(text)
  }
  return []
}

/** A configuration with one route, parts of which are replaced. */
function route(parts: Partial<Record<'source' | 'sink' | 'rest', string>> = {}): string {
  const { source = '{ url: sqlite:shop.db }', sink = '{ url: "redis://127.0.0.1", key: orders }', rest = '' } = parts
  return `routes:\n  orders:\n    source: ${source}\n    sink: ${sink}\n${rest}`
}

describe('a configuration', () => {
  it('has defaults, and paths relative to its folder', () => {
    const { routes, ...rest } = parse(route())
    expect(rest).toEqual({ logLevel: 'info', createTables: false, drainMs: 10_000 })
    const [orders] = routes
    expect(orders).toMatchObject({
      name: 'orders',
      fromHead: false,
      source: { name: 'sqlite:/srv/shop.db?table=events' },
      sink: { name: 'redis://127.0.0.1:6379/0?key=orders' },
      checkpoints: { name: 'sqlite:/srv/shop.db?table=cursors' },
    })
  })

  it('takes every key', () => {
    const { routes, ...rest } = parse(`
logLevel: warn
createTables: true
drainMs: 500
routes:
  a:
    source: { url: mysql://app@db/shop, password: 'p@ss', table: t, name: shop, columns: { foreignId: order_id }, barrier: write, gapTimeoutMs: 60000, tls: verify-ca, ca: ca.pem }
    sink: { url: rediss://u@cache:6380/2, key: k, ids: source, maxRefill: 5, password: x }
    checkpoints: { url: redis://cache, prefix: 'r:', password: x }
    fromHead: true
  b:
    source: { url: redis://cache, key: k2, name: n }
    sink: { url: sqlite:/var/log.db, table: log }
    checkpoints: { url: mysql://db/shop, table: c }`)
    expect(rest).toEqual({ logLevel: 'warn', createTables: true, drainMs: 500 })
    expect(routes.map(({ source, sink, checkpoints }) => [source.name, sink.name, checkpoints.name])).toEqual([
      ['mysql://app@db:3306/shop?table=t', 'rediss://u@cache:6380/2?key=k', 'redis://cache:6379/0?prefix=r:'],
      ['redis://cache:6379/0?key=k2', 'sqlite:/var/log.db?table=log', 'mysql://db:3306/shop?table=c'],
    ])
    expect(routes[0]?.fromHead).toBe(true)
  })

  it('keeps checkpoints beside the source with the same login, and as much encryption', () => {
    const [orders] = parse(
      route({ source: '{ url: "mysql://app@db/shop", password: x, tls: verify-ca, ca: ca.pem, table: t }' }),
    ).routes
    for (const part of [orders?.checkpoints, orders?.control])
      expect(part?.options).toEqual({ password: 'x', tls: 'verify-ca', ca: 'ca.pem', table: 'cursors' })
    const [copies] = parse(route({ source: '{ url: "tls://cache", stream: s, ca: ca.pem }' })).routes
    expect(copies?.checkpoints.options).toMatchObject({ ca: 'ca.pem', bucket: 'reflex-cursors' })
  })

  it('takes standby where leases can be kept beside the checkpoints, and nowhere else', () => {
    const checkpoints = (url: string): string => route({ rest: `    checkpoints: { url: '${url}' }\n` })
    expect(parse(`standby: true\n${route()}`).standby).toEqual({ leaseMs: 10_000 })
    expect(parse(`standby: true\nleaseMs: 2000\n${checkpoints('mysql://db/shop')}`).standby).toEqual({ leaseMs: 2000 })
    for (const url of ['redis://cache', 'nats://stream']) {
      expect(problems(`standby: true\n${checkpoints(url)}`)).toEqual([
        expect.stringMatching(
          /^routes\.orders\.checkpoints: expected mysql: or sqlite: with standby, since the leases are kept .* \(line 6\)$/,
        ),
      ])
    }
    expect(problems(`leaseMs: 5000\n${route()}`)).toEqual([
      expect.stringMatching(/^leaseMs: expected standby: true beside it/),
    ])
    expect(problems(`standby: true\nleaseMs: 10\n${route()}`)).toEqual([
      expect.stringMatching(/^leaseMs: expected at least 1000, found 10/),
    ])
  })

  it.each(readdirSync('examples').filter((file) => file.endsWith('.yaml')))('is right in examples/%s', (file) => {
    const environment = { DB_PASSWORD: 'x', NATS_PASSWORD: 'x', KAFKA_PASSWORD: 'x' }
    expect(parse(readFileSync(join('examples', file), 'utf8'), environment).routes).toHaveLength(1)
  })

  it('may be JSON', () => {
    const json = JSON.stringify(
      { routes: { orders: { source: { url: 'sqlite:a.db' }, sink: { url: 'sqlite:b.db' } } } },
      null,
      '\t',
    )
    expect(parse(json).routes[0]?.sink.name).toBe('sqlite:/srv/b.db?table=events')
  })

  it('keeps keys of a part in the URL as well', () => {
    const [orders] = parse(route({ source: '{ url: "sqlite:shop.db?table=t" }' })).routes
    expect(orders?.source.name).toBe('sqlite:/srv/shop.db?table=t')
    expect(orders?.checkpoints.name).toBe('sqlite:/srv/shop.db?table=cursors')
  })

  it('takes variables from the environment, whole or in part, and defaults', () => {
    const [orders] = parse(
      route({
        source: '{ url: "mysql://app@${HOST}/${DB:-shop}", password: "${PASSWORD}", table: "${TABLE:-orders}" }',
        sink: '{ url: "${SINK}", key: "$${literal}", maxRefill: "${REFILL}" }',
        rest: '    fromHead: "${FROM_HEAD}"',
      }),
      { HOST: 'db', PASSWORD: '${not again}', TABLE: '', SINK: 'redis://cache', REFILL: '7', FROM_HEAD: 'true' },
    ).routes
    expect(orders?.source).toMatchObject({
      name: 'mysql://app@db:3306/shop?table=orders',
      options: { password: '${not again}' },
    })
    expect(orders?.sink).toMatchObject({ name: 'redis://cache:6379/0?key=${literal}', options: { maxRefill: 7 } })
    expect(orders?.fromHead).toBe(true)
  })

  it('tells everything that is wrong at once, with path and line, in the order of the lines', () => {
    const text = `logLevel: verbose
routes:
  orders:
    source:
      url: mysql://app:\${DB_PASSWORD}@db/shop
      tabel: events
    sink:
      url: redis://127.0.0.1
      key: 7
      ids: mine
      maxRefill: 1.5
    fromHead: 1
  audit:
    sink: []
    form: x
createTable: true
`
    expect(problems(text)).toEqual([
      'logLevel: expected one of trace, debug, info, warn, error, silent, found a string (line 1)',
      'routes.orders.source.url: the environment variable DB_PASSWORD is not set: set it, or write ${DB_PASSWORD:-default} (line 5)',
      'routes.orders.source.tabel: unknown key: did you mean table? (line 6)',
      'routes.orders.sink.key: expected a string, found a number (line 9)',
      'routes.orders.sink.ids: expected one of auto, source, found a string (line 10)',
      'routes.orders.sink.maxRefill: expected a whole number, found 1.5 (line 11)',
      'routes.orders.fromHead: expected true or false, found a number (line 12)',
      'routes.audit.source: expected a mapping with a url, found nothing (line 13)',
      'routes.audit.sink: expected a mapping with a url, found a list (line 14)',
      'routes.audit.form: unknown key: expected one of source, sink, checkpoints, deadLetters, fromHead, types, tombstones, transform, typeNames, headers, cloudEvents, key (line 15)',
      'createTable: unknown key: did you mean createTables? (line 16)',
    ])
  })

  it.each<[string, string, RegExp]>([
    ['nothing', '', /^expected a mapping of keys, found nothing$/],
    ['a list', '- a', /^expected a mapping of keys, found a list \(line 1\)$/],
    ['no routes', 'logLevel: info', /^routes: expected a mapping from names to routes, found nothing \(line 1\)$/],
    ['empty routes', 'routes: {}', /^routes: .*found an empty one \(line 1\)$/],
    ['a route that is none', 'routes:\n  a: 7', /^routes\.a: expected a mapping of keys, found a number \(line 2\)$/],
    ['a bad route name', 'routes:\n  a/b: {}', /^routes\.a\/b: expected a name of letters/],
    [
      'a missing key',
      route({ sink: '{ url: redis://h }' }),
      /^routes\.orders\.sink\.key: expected a string, found nothing \(line 4\)$/,
    ],
    [
      'an empty key',
      route({ sink: '{ url: redis://h, key: "" }' }),
      /sink\.key: expected text that is not empty, found empty text/,
    ],
    [
      'a negative number',
      route({ sink: '{ url: redis://h, key: k, maxRefill: -1 }' }),
      /maxRefill: expected at least 0, found -1/,
    ],
    ['a table name', route({ source: '{ url: sqlite:a.db, table: a-b }' }), /source\.table: .*letters, digits and _/],
    [
      'no url',
      route({ sink: '{ key: k }' }),
      /sink\.url: expected a URL like kafka:\/\/.* or sqlite:PATH, found nothing/,
    ],
    ['an unknown scheme', route({ sink: '{ url: amqp://h }' }), /sink\.url: expected a URL like .*, found amqp:/],
    ['a misspelled scheme', route({ sink: '{ url: reddis://h }' }), /did you mean redis:\?/],
    ['a path without scheme', route({ source: '{ url: ./shop.db }' }), /source\.url: .*found no scheme/],
    [
      'a scheme for another part',
      route({ sink: '{ url: mysql://h/d }' }),
      /sink\.url: .*since mysql: cannot be used as sink/,
    ],
    [
      'a column that events do not have',
      route({ source: '{ url: mysql://h/d, columns: { foo: x } }' }),
      /source\.columns: expected columns to be of id, foreignId, .* but found foo/,
    ],
    ['no database', route({ source: '{ url: mysql://h }' }), /source\.url: expected the name of a database/],
    [
      'a database that is no number',
      route({ sink: '{ url: redis://h/x, key: k }' }),
      /sink\.url: expected the number of a database/,
    ],
    [
      'a host for SQLite',
      route({ source: '{ url: sqlite://shop.db }' }),
      /source\.url: expected sqlite: and the path of a file/,
    ],
    [
      'SQLite in memory',
      route({ source: '{ url: "sqlite::memory:" }' }),
      /source\.url: expected sqlite: and the path of a file/,
    ],
    [
      'a key twice',
      route({ source: '{ url: "sqlite:a.db?table=a", table: b }' }),
      /source\.url: table is given more than once/,
    ],
    [
      'an unknown key in the URL',
      route({ source: '{ url: "sqlite:a.db?tabel=a" }' }),
      /tabel: unknown key: did you mean table\?/,
    ],
    [
      'a bad reference',
      route({ sink: '{ url: redis://h, key: "${1x}" }' }),
      /sink\.key: expected \$\{NAME\} or \$\{NAME:-default\}, found \$\{1x\}/,
    ],
    ['an open reference', route({ sink: '{ url: redis://h, key: "${NAME" }' }), /sink\.key: expected \$\{NAME\}/],
    [
      'itself as sink',
      route({ source: '{ url: sqlite:a.db }', sink: '{ url: sqlite:../srv/a.db }' }),
      /sink: expected another log than the source/,
    ],
    ['bad YAML', 'routes: [', /\(line 1\)$/],
    ['two documents', 'routes: {}\n---\nroutes: {}', /expected one document, found another one after ---/],
    [
      'aliases that grow beyond all bounds',
      [
        'a: &a [1,1,1,1,1,1,1,1,1]',
        ...[...'bcdefg'].map((name, i) => `${name}: &${name} [${Array(9).fill(`*${'abcdef'[i]}`)}]`),
      ].join('\n'),
      /expected few aliases \(\*name\), found too many/,
    ],
    ['an alias of nothing', 'routes: *orders', /expected an anchor &orders before the alias \*orders, found none/],
    ['a key of YAML twice', 'routes: {}\nroutes: {}', /unique.*\(line 2\)$/],
  ])('refuses %s', (_, text, expected) => {
    const found = problems(text)
    expect(found.filter((line) => expected.test(line))).toHaveLength(1)
  })

  it('takes what a source can do with missing ids, and who tells it of new events, and refuses both where it cannot', () => {
    const notifier = "notifier: { url: 'redis://h', channel: shop }"
    const mysql = (more: string): string => route({ source: `{ url: mysql://h/d, ${more} }` })
    expect(wrong(mysql(`gaps: fill, fillAfterMs: 5000, ${notifier}`))).toEqual([])
    expect(wrong(mysql("notifier: { url: 'nats://h', subject: shop.events }"))).toEqual([])
    expect(wrong(route({ source: `{ url: sqlite:shop.db, ${notifier} }` }))).toEqual([])
    expect(wrong(mysql('fillAfterMs: 5'))[0]).toMatch(/source\.fillAfterMs: expected gaps: fill beside it/)
    expect(wrong(mysql('gaps: leave'))[0]).toMatch(/source\.gaps: expected one of pass, fill/)
    expect(wrong(mysql("notifier: { url: 'redis://h', chanel: shop }")).join()).toMatch(
      /source\.notifier.*did you mean channel/,
    )
    expect(wrong(mysql("notifier: { url: 'kafka://h', topic: t }"))[0]).toMatch(
      /source\.notifier\.url: .*since kafka: cannot be used as notifier/,
    )
    for (const source of [`{ url: redis://h, key: k, ${notifier} }`, `{ url: nats://h, stream: S, ${notifier} }`])
      expect(wrong(route({ source, rest: '    checkpoints: { url: sqlite:c.db }' }))[0]).toMatch(
        /source\.notifier: unknown key/,
      )
    expect(wrong(route({ source: '{ url: sqlite:shop.db, gaps: fill }' }))[0]).toMatch(/source\.gaps: unknown key/)
  })

  it('refuses an exclusive key that two routes go to', () => {
    const two = `routes:
  a: { source: { url: sqlite:a.db }, sink: { url: redis://h, key: k, ids: source } }
  b: { source: { url: sqlite:b.db }, sink: { url: redis://h:6379/0, key: k } }`
    expect(problems(two)).toEqual([
      'routes.b.sink: expected a log of its own, since ids: source needs one, but the route a goes there too (line 3)',
    ])
    expect(parse(two.replace(', ids: source', '')).routes).toHaveLength(2)
  })

  it('refuses dead letters and checkpoints in a table that is another one', () => {
    const shared = (more: string): string =>
      problems(`routes: { a: { source: { url: 'sqlite:a.db' }, sink: { url: 'sqlite:b.db' }, ${more} } }`).join()
    expect(shared("deadLetters: { url: 'sqlite:b.db', table: events }")).toMatch(/a\.deadLetters: .*that of sink/)
    expect(shared("deadLetters: { url: 'sqlite:a.db', table: cursors }")).toMatch(/a\.deadLetters: .*of checkpoints/)
    expect(shared("checkpoints: { url: 'sqlite:a.db', table: events }")).toMatch(/a\.checkpoints: .*that of source/)
  })

  describe('two routes', () => {
    const nats = (subject: string, { stream = 'S', host = 'h' } = {}): string =>
      `{ url: 'nats://${host}', stream: ${stream}, subject: '${subject}' }`
    const two = (a: string, b: string, { more = '', from = 'sqlite:b.db' } = {}): string[] =>
      wrong(`routes:
  a: { source: { url: sqlite:a.db }, sink: ${a} }
  b: { source: { url: '${from}' }, sink: ${b}${more} }`)

    it.each([
      [
        'one subject',
        nats('x'),
        nats('x'),
        /b\.sink: .*no prefix with that of the route a, found "x" beside "x".*give the two prefixes/,
      ],
      ['a subject below the other', nats('x.y'), nats('x'), /b\.sink: .*the route a, found "x" beside "x\.y"/],
      ['a subject above the other', nats('x'), nats('x.y.{typeName}'), /b\.sink: .*the route a/],
      [
        'one subject in two streams',
        nats('x'),
        nats('x', { stream: 'T' }),
        /b\.sink: .*a subject belongs to one stream/,
      ],
      [
        'the topic of checkpoints of the other',
        '{ url: kafka://h, topic: x }',
        '{ url: kafka://h, topic: reflex-bridge-checkpoints }',
        /b\.sink: .*holds the checkpoints of the route a: name another topic/,
      ],
      [
        'the table of checkpoints of the other',
        '{ url: sqlite:l.db }',
        '{ url: sqlite:a.db, table: cursors }',
        /b\.sink: .*that of checkpoints of the route a/,
      ],
      [
        'the table of what is wanted of the other',
        '{ url: sqlite:l.db }',
        '{ url: sqlite:a.db, table: bridge_controls }',
        /b\.sink: .*that of checkpoints of the route a/,
      ],
    ])('are refused with %s', (_, a, b, expected) => {
      const found = two(a, b)
      expect(found).toHaveLength(1)
      expect(found[0]).toMatch(expected)
    })

    it('are refused where one has dead letters in the table of the other, or checkpoints in its key', () => {
      const letters = two('{ url: sqlite:l.db }', '{ url: sqlite:m.db }', {
        more: ', deadLetters: { url: sqlite:l.db, table: events }',
      })
      expect(letters.join()).toMatch(/b\.deadLetters: .*that of sink of the route a/)
      const key = two("{ url: 'redis://h', key: 'reflex:cursors' }", "{ url: 'redis://h', key: k }", {
        more: ", checkpoints: { url: 'redis://h' }",
      })
      expect(key.join()).toMatch(/b\.checkpoints: .*a key of its own.* that of sink of the route a/)
    })

    it.each([
      ['prefixes that only begin alike', nats('orders'), nats('orders2')],
      ['one subject on two servers', nats('x'), nats('x', { host: 'i' })],
      ['subjects of two streams that do not meet', nats('x'), nats('x.y', { stream: 'T' })],
      ['one topic', '{ url: kafka://h, topic: x }', '{ url: kafka://h, topic: x }'],
      ['one key', '{ url: redis://h, key: x }', '{ url: redis://h, key: x }'],
      ['one table', '{ url: sqlite:l.db }', '{ url: sqlite:l.db }'],
    ])('are at home beside each other with %s', (_, a, b) => {
      expect(two(a, b)).toEqual([])
    })
  })

  it('refuses a route from a stream into itself, unless its subjects leave out what it writes', () => {
    const self = (subjects: string): string =>
      wrong(`routes:
  a:
    source: { url: 'nats://h', stream: S${subjects} }
    sink: { url: 'nats://h', stream: S, subject: out }
    checkpoints: { url: sqlite:c.db }`).join('')
    expect(self('')).toMatch(/a\.sink: .*forwarded without end; name the subjects that are meant at the source/)
    expect(self(", subjects: ['*.1']")).toMatch(/a\.sink: .*without end/)
    expect(self(", subjects: ['in.>', 'out']")).toBe('')
  })

  it('quotes no password in an error', () => {
    const secret = 'hunter2'
    const wrong = [
      route({ source: `{ url: "mysql://app:${secret}@h" }` }),
      route({ source: `{ url: "mysql://app:${secret}/@h/db" }` }),
      route({ source: `{ url: "mysql://app:${secret}%zz@h/db" }` }),
      route({ source: `{ url: "mysql://app:${secret}#@h/db" }` }),
      route({ source: `{ url: "mysql://app:${secret}@h/db", password: ${secret} }` }),
      route({ source: `{ url: mysql://h/db, password: [${secret}] }` }),
      route({ source: `{ url: mysql://h/db, tls: ${secret} }` }),
      route({ source: `{ url: "amqp://app:${secret}@h" }` }),
      route({ source: `{ url: mysql://app:${secret}@h/db, password: "` }),
    ]
    for (const text of wrong) expect(problems(text).join('\n'), text).not.toContain(secret)
  })
})
