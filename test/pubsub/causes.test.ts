import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { causalGraphBuilder } from '../../src/cli/causes/causal-graph.ts'
import { graphAsDot, graphAsJson } from '../../src/cli/causes/format-graph.ts'
import type { Event, NewEvent } from '../../src/core/event.ts'
import { wireNames } from '../../src/core/wire.ts'
import { publicationEvent } from '../../src/pubsub/index.ts'
import { insertInto, newFolder, run, start } from '../cli/command.ts'
import { anyCharacter } from './any-text.ts'

/** The tokens of DOT: strings in quotes as one each, without their escapes. Throws on what is not DOT as it is written here. */
function dotTokens(dot: string): string[] {
  const tokens: string[] = []
  const pattern = /\s+|->|[{}[\]=,]|[\w]+|"((?:[^"\\\n]|\\[^\n])*)"/gy
  for (let at = 0; at < dot.length; at = pattern.lastIndex) {
    pattern.lastIndex = at
    const [token, quoted] = pattern.exec(dot) ?? expect.fail(`no DOT at ${JSON.stringify(dot.slice(at, at + 30))}`)
    if (quoted !== undefined) tokens.push(`"${quoted}`)
    else if (token.trim() !== '') tokens.push(token)
  }
  return tokens
}

const event = (id: number, headers: Event['headers'] = {}, more: Partial<Event> = {}): Event => ({
  ...{ id: String(id), type: 1, foreignId: '', timestamp: 0, metadata: null },
  headers,
  ...more,
})

describe('the graph of causes', () => {
  it('takes time in proportion to its events, however many share an unknown cause or have a correlation of their own', () => {
    const builder = causalGraphBuilder()
    const count = 50_000
    for (let i = 0; i < count; i++)
      builder.add(event(i, { 'cause-id': 'gone', 'correlation-id': `c${Math.floor(i / 2)}` }))
    const started = performance.now()
    const graph = builder.graph()
    expect(graph.unknown).toMatchObject([{ cause: 'gone', effects: { length: count } }])
    const dot = graphAsDot(graph)
    expect(performance.now() - started).toBeLessThan(5000) // a minute where each event is held against all the others
    expect(dot).toContain('subgraph cluster_24999')
  })

  it('has an edge for each cause that is among the events, a dashed node for each other, and a box for each correlation', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ cause: fc.option(fc.nat(15)), correlation: fc.option(fc.nat(4)) }), { maxLength: 12 }),
        (all) => {
          const builder = causalGraphBuilder()
          for (const [i, { cause, correlation }] of all.entries())
            builder.add(
              event(i, {
                ...(cause === null ? {} : { 'cause-id': String(cause) }),
                ...(correlation === null ? {} : { 'correlation-id': String(correlation) }),
              }),
            )
          const graph = builder.graph()
          const known = all.flatMap(({ cause }, i) =>
            cause !== null && cause < all.length ? [{ cause: String(cause), effect: String(i) }] : [],
          )
          const unknown = all.flatMap(({ cause }, i) =>
            cause !== null && cause >= all.length ? [`${cause} ${i}`] : [],
          )
          expect(graph.edges).toEqual(known)
          expect(
            graph.unknown.flatMap(({ cause, effects }) => effects.map((effect) => `${cause} ${effect}`)).toSorted(),
          ).toEqual(unknown.toSorted())
          const correlations = new Set(
            all.flatMap(({ correlation }) => (correlation === null ? [] : [String(correlation)])),
          )
          expect(new Set(graph.correlations.keys())).toEqual(correlations)
          for (const [name, ids] of graph.correlations) {
            const said = all.flatMap(({ correlation }, i) => (String(correlation) === name ? [String(i)] : []))
            const root = all[Number(name)]?.correlation === null ? [name] : [] // the event that it is named after
            expect(ids.toSorted()).toEqual([...said, ...root].toSorted())
            const part = builder.graph(name)
            expect(part.events.map(({ id }) => id).toSorted()).toEqual(ids.toSorted())
            const within = known.filter(({ cause, effect }) => ids.includes(cause) && ids.includes(effect))
            expect(part.edges).toEqual(within)
          }
          const tokens = dotTokens(graphAsDot(graph))
          expect(tokens.filter((token) => token === '->')).toHaveLength(known.length + unknown.length)
          expect(tokens.filter((token) => /^e\d+$/.test(token))).toHaveLength(
            all.length + 2 * known.length + unknown.length,
          )
          expect(JSON.parse(graphAsJson(graph, {}))).toMatchObject({ edges: known })
        },
      ),
    )
  })

  it('is DOT whatever the events hold: nothing in them ends a string or a line', () => {
    const text = fc.string({
      unit: fc.oneof(fc.constantFrom('"', '\\', '\n', ']', '{', '\u2028', '\0'), anyCharacter),
    })
    fc.assert(
      fc.property(text, text, text, text, (foreignId, typeName, cause, correlation) => {
        const builder = causalGraphBuilder()
        builder.add(
          event(1, { 'cause-id': cause, 'correlation-id': correlation, 'type-name': typeName }, { foreignId }),
        )
        const dot = graphAsDot(builder.graph())
        const strings = dotTokens(dot).filter((token) => token.startsWith('"'))
        expect(strings).toHaveLength(4) // the font, the box, the event and its cause
        expect(dot).not.toMatch(/[^\n\P{Cc}]/u)
        // As Graphviz reads it, a backslash that escapes stands before each that is meant.
        for (const each of strings) expect(each.slice(1).replace(/\\[\\"n]/g, '')).not.toMatch(/["\\]/)
      }),
    )
  })

  it('finds the cause of what a bridge has forwarded among the ids of its source, and of what was published here among those here', () => {
    const builder = causalGraphBuilder()
    const from = (source: string, sourceId: string) => ({ [wireNames.source]: source, [wireNames.sourceId]: sourceId })
    builder.add(event(101, from('shop', '1')))
    builder.add(event(102, { ...from('shop', '2'), 'cause-id': '1' }))
    builder.add(event(103, { ...from('web', '1'), 'client-id': 'web', 'cause-id': '102' }))
    builder.add(event(104, { ...from('web', '2'), 'client-id': 'web', 'cause-id': '1' }))
    const { edges, unknown } = builder.graph()
    expect(edges).toEqual([
      { cause: '101', effect: '102' },
      { cause: '102', effect: '103' },
    ])
    expect(unknown).toEqual([{ cause: '1', effects: ['104'] }])
  })

  it('is the same for every part of what several bridges have forwarded, but for the causes that are out of it', () => {
    const events = fc.array(
      fc.record({
        source: fc.constantFrom('shop', 'web', undefined),
        cause: fc.option(fc.integer({ min: 1, max: 8 }).map(String), { nil: undefined }),
        correlation: fc.option(fc.integer({ min: 1, max: 4 }).map(String), { nil: undefined }),
      }),
      { maxLength: 12 },
    )
    fc.assert(
      fc.property(events, fc.nat(12), fc.nat(12), (all, from, count) => {
        const counts = new Map<string | undefined, number>()
        const log = all.map(({ source, cause, correlation }, i) => {
          const sourceId = (counts.get(source) ?? 0) + 1
          counts.set(source, sourceId)
          return event(i + 1, {
            ...(source === undefined ? {} : { [wireNames.source]: source, [wireNames.sourceId]: String(sourceId) }),
            ...(cause === undefined ? {} : { 'cause-id': cause }),
            ...(correlation === undefined ? {} : { 'correlation-id': correlation }),
          })
        })
        const graphOf = (some: readonly Event[]) => {
          const builder = causalGraphBuilder()
          for (const each of some) builder.add(each)
          return builder.graph()
        }
        const whole = graphOf(log)
        const range = log.slice(from, from + count)
        const isIn = new Set(range.map(({ id }) => id))
        const part = graphOf(range)
        expect(part.edges).toEqual(whole.edges.filter(({ cause, effect }) => isIn.has(cause) && isIn.has(effect)))
        // A correlation of one source is not one of another, although both count from 1.
        for (const [name, ids] of whole.correlations)
          for (const id of ids) {
            const { source, correlation } = all[Number(id) - 1] ?? {}
            if (correlation !== undefined) continue
            expect(all.some((each) => each.source === source && each.correlation === name)).toBe(true)
          }
      }),
      { numRuns: 1000 },
    )
  })
})

describe('causes', () => {
  const published = (): Promise<NewEvent[]> =>
    Promise.all(
      [
        { typeName: 'order.placed', foreignId: '7' },
        { typeName: 'order.paid', foreignId: '7', cause: '1', correlation: '1' },
        { typeName: 'mail "sent"', foreignId: 'a\nb', cause: '2', correlation: '1' },
        { typeName: 'late', foreignId: '8', cause: '99' },
      ].map((each) => publicationEvent(each, { client: 'web-1' })),
    )

  it('prints the graph of a source as DOT, or in JSON, and how far it came', async () => {
    const path = join(newFolder(), 'log.db')
    insertInto(path, 'events', await published())
    const url = `sqlite:${path}`
    const [dot, json, part] = await Promise.all([
      run(['causes', url]),
      run(['causes', url, '--json', '--correlation', '1']),
      run(['causes', url, '--after', '1', '--limit', '1', '--json']),
    ])
    expect(dot).toEqual({
      code: 0,
      stdout: `digraph causes {
  rankdir=LR
  node [shape=box, fontname="sans-serif"]
  subgraph cluster_0 {
    label="correlation 1"
    e0 [label="1\\norder.placed\\n7\\nweb-1"]
    e1 [label="2\\norder.paid\\n7\\nweb-1"]
    e2 [label="3\\nmail \\"sent\\"\\na\\\\nb\\nweb-1"]
  }
  e3 [label="4\\nlate\\n8\\nweb-1"]
  u0 [label="99", style=dashed]
  u0 -> e3 [style=dashed]
  e0 -> e1
  e1 -> e2
}
`,
      stderr: '4 events, 3 with a cause, 1 causes not among them; last cursor: 4\n',
    })
    expect(json.code).toBe(0)
    expect(JSON.parse(json.stdout)).toMatchObject({
      events: [{ id: '1' }, { id: '2' }, { id: '3', cause: '2', client: 'web-1', foreignId: 'a\nb' }],
      edges: [
        { cause: '1', effect: '2' },
        { cause: '2', effect: '3' },
      ],
      unknown: [],
      correlations: { 1: ['1', '2', '3'] },
    })
    expect(JSON.parse(part.stdout)).toMatchObject({
      events: [{ id: '2' }],
      unknown: [{ cause: '1', effects: ['2'] }],
      cursor: '2',
    })
    expect(part.stderr).toContain('stopped at --limit 1')
  })

  it('reads the source of a route in a configuration', async () => {
    const folder = newFolder()
    insertInto(join(folder, 'shop.db'), 'events', await published())
    const sink = { url: 'sqlite:copy.db', table: 'copies' }
    const routes = {
      one: { source: { url: 'sqlite:shop.db?table=events' }, sink },
      two: { source: { url: 'sqlite:other.db' }, sink: { ...sink, table: 'b' } },
    }
    writeFileSync(join(folder, 'bridge.json'), JSON.stringify({ routes }))
    const { code, stdout, stderr } = await run(['causes', 'bridge.json', '--route', 'one', '--json'], { cwd: folder })
    expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('4 events') })
    expect(JSON.parse(stdout)).toMatchObject({ edges: [{}, {}] })
    const which = await run(['causes', 'bridge.json'], { cwd: folder })
    expect(which).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringContaining('expected --route with one of one, two'),
    })
  })

  it('refuses what is wrong, and has help', async () => {
    const cases: [string[], RegExp][] = [
      [['causes'], /missing required argument 'source'/],
      [['causes', 'sqlite:missing.db'], /there is no file/],
      [['causes', 'sqlite:a.db', '--limit', '0'], /from 1 to 999999/],
      [['causes', 'sqlite:a.db', '--route', 'x'], /goes with a configuration file/],
    ]
    const folder = newFolder()
    await Promise.all(
      cases.map(async ([args, message]) => {
        const { code, stdout, stderr } = await run(args, { cwd: folder })
        expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
        expect(stderr).toMatch(message)
      }),
    )
    const { code, stdout } = await run(['causes', '--help'])
    expect(code).toBe(0)
    expect(stdout).toContain('Examples:\n  $ reflex-bridge causes')
  })

  it('ends cleanly with Ctrl-C, and prints what it has read by then', async () => {
    const path = join(newFolder(), 'log.db')
    const many = Array.from({ length: 1000 }, (_, i) => ({
      type: 1,
      foreignId: String(i),
      headers: { 'cause-id': String(i) },
    }))
    for (let i = 0; i < 30; i++) insertInto(path, 'events', many)
    const running = start(['causes', `sqlite:${path}`, '--limit', '30000', '--json'])
    running.child.kill('SIGINT')
    const { code, stdout } = await running.ended
    if (code === 0) expect(JSON.parse(stdout)).toHaveProperty('events')
    else expect(code).toBe(130) // before it was listened to
  })
})
