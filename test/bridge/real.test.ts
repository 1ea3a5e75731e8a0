import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { jetstreamManager } from '@nats-io/jetstream'
import { connect as connectNats } from '@nats-io/transport-node'
import { Redis } from 'ioredis'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { jetstreamFailFast, jetstreamSource } from '../../src/adapters/jetstream/index.ts'
import { mysqlCursors, mysqlEvents } from '../../src/adapters/mysql/index.ts'
import { openSqlite, sqliteCursors, sqliteEvents, sqliteSink } from '../../src/adapters/sqlite/index.ts'
import { bridge } from '../../src/bridge/bridge.ts'
import { parseCheckpoint } from '../../src/bridge/checkpoint.ts'
import { type NewEvent, supervise, wireNames } from '../../src/core/index.ts'
import { type Address, type Server, startServer, type TcpProxy, tcpProxy } from '../../src/testing/servers/index.ts'
import { partitionsOf, topicAdmin } from '../kafka/fixture.ts'
import { newDatabase } from '../mysql/database.ts'
import { newFile } from '../sqlite/new-file.ts'
import { eventsIn } from '../subjects/redis.ts'
import { eventually, reader, within } from '../tools/reader.ts'
import { openRoute, type SinkAt, type SourceAt } from './real-route.ts'

type ServerWithProcess = Server & Required<Pick<Server, 'process'>>
/** What stands in both logs: the id in the source, and the entity. */
type Line = readonly [id: string, foreignId: string]

/** A source of its own. */
interface Origin {
  /** As it is reached at `address`, which may be a proxy's. */
  at(address?: Address): SourceAt
  /** Runs one transaction; `commit` says how it ends. */
  write(events: readonly NewEvent[], commit: boolean): Promise<void>
  lines(): Promise<Line[]>
}

/** A destination of its own. */
interface Destination {
  at(address?: Address): SinkAt
  lines(): Promise<Line[]>
}

/** Destinations that are servers. Each is one entry. */
const destinations: Readonly<
  Record<
    string,
    {
      start(): Promise<Server>
      /** As it is when what it has confirmed is lost with the process. */
      startVolatile?(): Promise<Server>
      make(server: Server): Promise<Destination>
    }
  >
> = {
  jetstream: {
    start: () => startServer('nats', { from: ['docker', 'native'] }),
    make: async (server) => {
      const stream = `out-${made++}`
      const connect = () => connectNats({ servers: server.url, ...jetstreamFailFast })
      const connection = await connect()
      const subjects = [`${stream}.>`]
      await (await jetstreamManager(connection)).streams.add({ name: stream, subjects, allow_atomic: true })
      await connection.close()
      const { stream: open } = jetstreamSource({ connect, stream })
      return {
        at: ({ host, port } = server) => ({ kind: 'jetstream', servers: `${host}:${port}`, stream }),
        lines: async () => {
          await using all = reader(await open('', { toHead: true }))
          return (await all.rest()).map(lineOf)
        },
      }
    },
  },
  kafka: {
    start: () => startServer('kafka', { from: ['docker', 'native'] }),
    make: async (server) => {
      const topic = `out-${made++}`
      const topics = await topicAdmin(topic, { brokers: server.url, partitions: 3 })
      onTestFinished(() => topics[Symbol.asyncDispose]())
      return {
        at: (via) => ({
          kind: 'kafka',
          brokers: server.url,
          topic,
          ...(via && { via: { host: via.host, port: via.port } }),
        }),
        // Each partition is in order: together they are in the order of the source, in which they are held against it.
        lines: async () =>
          inSourceOrder((await partitionsOf(topic, server.url, 3)).map((events) => events.map(lineOf))),
      }
    },
  },
  redis: {
    start: () => startServer('redis', { from: ['docker', 'native'] }),
    startVolatile: () => startServer('redis', { from: ['docker', 'native'], redis: { appendonly: false } }),
    make: async (server) => {
      const key = `out-${made++}`
      const client = new Redis(server.url, { lazyConnect: true })
      client.on('error', () => {}) // while the server is down
      onTestFinished(() => client.disconnect())
      return {
        at: ({ host, port } = server) => ({ kind: 'redis', url: `redis://${host}:${port}`, key }),
        lines: async () => (await eventsIn(client, key)).map(lineOf),
      }
    },
  },
}
let made = 0

function lineOf({ headers, foreignId }: { headers: NewEvent['headers']; foreignId: string }): Line {
  return [headers?.[wireNames.sourceId] as string, foreignId]
}

/** The lines of several partitions as one log, each line after those with lower ids; a line that is out of order in its partition stays so. */
function inSourceOrder(partitions: readonly (readonly Line[])[]): Line[] {
  const lines: Line[] = []
  const left = partitions.map((partition) => [...partition])
  for (;;) {
    const next = left.filter(({ length }) => length > 0).sort(([a], [b]) => Number(a?.[0]) - Number(b?.[0]))[0]
    if (next === undefined) return lines
    lines.push(next.shift() as Line)
  }
}

async function mysqlOrigin(server: Server): Promise<Origin> {
  const database = await newDatabase(server)
  onTestFinished(() => database[Symbol.asyncDispose]())
  const events = mysqlEvents(database.pool)
  await events.createTable()
  await mysqlCursors(database.pool).createTable()
  return {
    at: ({ host, port } = server) => ({ kind: 'mysql', uri: `mysql://root@${host}:${port}/${database.name}` }),
    write: async (written, commit) => {
      const connection = await database.pool.getConnection()
      try {
        await connection.beginTransaction()
        await events.insert(connection, ...written)
        await (commit ? connection.commit() : connection.rollback())
      } finally {
        connection.release()
      }
    },
    lines: async () => (await database.sql('select id, foreign_id from events order by id')) as unknown as Line[],
  }
}

async function sqliteOrigin(): Promise<Origin> {
  const file = newFile()
  const database = openSqlite(file)
  onTestFinished(() => database.close())
  const events = sqliteEvents(database)
  events.createTable()
  sqliteCursors(database).createTable()
  return {
    at: () => ({ kind: 'sqlite', file }),
    write: async (written, commit) => {
      database.exec('begin immediate')
      events.insert(database, ...written)
      database.exec(commit ? 'commit' : 'rollback')
    },
    lines: async () =>
      database
        .prepare('select cast(id as text) as id, foreign_id as foreignId from events order by events.id')
        .all()
        .map(({ id, foreignId }) => [id, foreignId] as Line),
  }
}

function sqliteDestination(): Destination {
  const file = newFile()
  const database = openSqlite(file)
  onTestFinished(() => database.close())
  sqliteSink(database).createTable()
  const { source } = sqliteEvents(database)
  return {
    at: () => ({ kind: 'sqlite', file }),
    lines: async () => {
      await using all = reader(await source.stream('', { toHead: true }))
      return (await all.rest()).map(lineOf)
    },
  }
}

/** Writes transactions of several events, two at a time and a quarter of them rolled back, until it is stopped. */
function startWriting(origin: Origin): { stop(): Promise<void> } {
  let stopped = false
  let count = 0
  const write = async (): Promise<void> => {
    while (!stopped) {
      const events = Array.from({ length: 1 + (count % 4) }, () => ({ type: 1, foreignId: `e${count++ % 7}` }))
      await origin.write(events, count % 4 !== 0)
      await sleep(Math.random() * 16)
    }
  }
  const writing = Promise.all([write(), write()])
  writing.catch(() => {}) // whoever stops it is told
  return {
    stop: async () => {
      stopped = true
      await writing
    },
  }
}

/** A bridge in this process. */
interface RunningBridge {
  readonly repairs: readonly string[]
  /** What it has failed with so far, the newest last. */
  readonly failures: readonly string[]
  /** Rejects if it gives up. */
  readonly running: Promise<unknown>
  stop(): Promise<void>
}

/** A bridge in this process that starts again after each failure. */
function startBridge(origin: SourceAt, destination: SinkAt): RunningBridge {
  const route = openRoute({ source: origin, sink: destination })
  const stopping = new AbortController()
  const repairs: string[] = []
  const failures: string[] = []
  const running = supervise((o) => bridge(route.spec, o), {
    signal: stopping.signal,
    minDelayMs: 10,
    maxDelayMs: 100,
    observer: {
      repaired: (text) => repairs.push(text),
      failed: (error) => failures.push(`${performance.now().toFixed(0)} ${error}`),
    },
  })
  running.catch(() => {}) // whoever stops it is told
  const stop = async (): Promise<void> => {
    stopping.abort()
    await running
    await route[Symbol.asyncDispose]()
  }
  return { repairs, failures, running, stop }
}

/** A bridge in a process of its own. */
function forkBridge(origin: Origin, destination: Destination) {
  const route = JSON.stringify({ source: origin.at(), sink: destination.at() })
  const child = fork(fileURLToPath(new URL('forward.ts', import.meta.url)), [route], {
    execArgv: ['--disable-warning=ExperimentalWarning', '--disable-warning=TimeoutNegativeWarning'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const exited = once(child, 'exit')
  const saved = Promise.withResolvers<void>()
  let ended: string | undefined
  child.on('message', (message: { cursor?: string; ended?: string }) => {
    if (message.cursor !== undefined) saved.resolve()
    ended ??= message.ended
  })
  return {
    /** Resolves when it has saved its first checkpoint, or failed. */
    atWork: Promise.race([saved.promise, exited.then(() => {})]),
    /** Kills it; resolves with the failure that had ended it before, if one had. */
    kill: async (): Promise<string | undefined> => {
      child.kill('SIGKILL')
      await exited
      return ended
    },
  }
}

/** Waits until all events of the source are in the destination, then holds the two against each other. */
async function expectEqual(origin: Origin, destination: Destination, bridge: RunningBridge): Promise<void> {
  const expected = await origin.lines()
  expect(expected.length).toBeGreaterThan(20)
  const last = String(expected.at(-1))
  const arrived = async (): Promise<boolean> => {
    await sleep(50)
    return String((await destination.lines()).at(-1)) === last
  }
  try {
    await Promise.race([eventually(arrived, 30_000, 'the last event'), bridge.running])
  } catch (error) {
    throw new Error(`${error}, after ${bridge.failures.slice(-10).join('\n')}`, { cause: error })
  }
  expect(await destination.lines()).toEqual(expected)
}

async function expectSaved(origin: Origin, destination: Destination): Promise<void> {
  await using route = openRoute({ source: origin.at(), sink: destination.at() })
  const { name, checkpoints } = route.spec
  const [last] = (await origin.lines()).at(-1) ?? []
  expect(parseCheckpoint(name, await checkpoints.get(name))?.cursor).toBe(last)
}

/** Ten processes, some of which are still at work when the next one takes over. */
async function killRepeatedly(origin: Origin, destination: Destination): Promise<void> {
  const writing = startWriting(origin)
  let older: ReturnType<typeof forkBridge> | undefined
  for (let round = 0; round < 10; round++) {
    const process = forkBridge(origin, destination)
    await within(process.atWork, 10_000, 'the first checkpoint')
    await sleep(Math.random() * 60)
    // Of two that are at work, one may have found out that there is another.
    expect([undefined, 'ANOTHER_RUNNER']).toContain(await older?.kill())
    older = undefined
    if (round % 3 === 1) older = process
    else expect([undefined, 'ANOTHER_RUNNER']).toContain(await process.kill())
  }
  await older?.kill()
  await writing.stop()
  const rest = startBridge(origin.at(), destination.at())
  await expectEqual(origin, destination, rest)
  await rest.stop()
  await expectSaved(origin, destination)
}

test('SQLite to SQLite: processes that are killed lose nothing and repeat nothing', async () => {
  await killRepeatedly(await sqliteOrigin(), sqliteDestination())
})

for (const [name, { start, startVolatile, make }] of Object.entries(destinations)) {
  describe(`MySQL to ${name}`, () => {
    let mysql: ServerWithProcess
    let server: ServerWithProcess
    beforeAll(async () => {
      const started = await Promise.all([startServer('mysql', { from: ['docker', 'native'] }), start()])
      ;[mysql, server] = started as [ServerWithProcess, ServerWithProcess]
    })
    afterAll(async () => {
      await server?.[Symbol.asyncDispose]()
      await mysql?.[Symbol.asyncDispose]()
    })

    test('processes that are killed lose nothing and repeat nothing', async () => {
      await killRepeatedly(await mysqlOrigin(mysql), await make(server))
    })

    test('a destination that is killed has everything once and in order, and nothing to repair', async () => {
      const [origin, destination] = [await mysqlOrigin(mysql), await make(server)]
      const writing = startWriting(origin)
      const forwarding = startBridge(origin.at(), destination.at())
      for (let round = 0; round < 4; round++) {
        await sleep(100 + Math.random() * 100)
        await server.process.kill()
        await server.process.start()
      }
      await writing.stop()
      await expectEqual(origin, destination, forwarding)
      await forwarding.stop()
      await expectSaved(origin, destination)
      expect(forwarding.repairs).toEqual([])
    })

    test.skipIf(startVolatile === undefined)(
      'a destination that loses its tail is refilled, also while the source is idle',
      async () => {
        await using volatile = (await startVolatile?.()) as ServerWithProcess
        const [origin, destination] = [await mysqlOrigin(mysql), await make(volatile)]
        const forwarding = startBridge(origin.at(), destination.at())
        for (let round = 0; round < 3; round++) {
          const writing = startWriting(origin)
          await sleep(100 + Math.random() * 100)
          if (round === 2) await writing.stop()
          if (round === 2) await expectEqual(origin, destination, forwarding)
          await volatile.process.kill()
          await volatile.process.start()
          await writing.stop()
        }
        await expectEqual(origin, destination, forwarding)
        await forwarding.stop()
        await expectSaved(origin, destination)
        expect(forwarding.repairs.join()).toMatch(/refill/)
      },
    )

    test('two servers that freeze for a second lose nothing and repeat nothing', async () => {
      const [origin, destination] = [await mysqlOrigin(mysql), await make(server)]
      const writing = startWriting(origin)
      const forwarding = startBridge(origin.at(), destination.at())
      for (const frozen of [[mysql, server], [server], [mysql]]) {
        await sleep(100)
        for (const { process } of frozen) process.freeze()
        await sleep(1000 / frozen.length)
        for (const { process } of frozen) process.thaw()
      }
      await sleep(100)
      await writing.stop()
      await expectEqual(origin, destination, forwarding)
      await forwarding.stop()
      await expectSaved(origin, destination)
    })

    test('networks that are cut, and that lose replies, lose nothing and repeat nothing', async () => {
      const [origin, destination] = [await mysqlOrigin(mysql), await make(server)]
      await using toSource = await tcpProxy(mysql)
      await using toSink = await tcpProxy(server)
      const writing = startWriting(origin)
      const forwarding = startBridge(origin.at(toSource), destination.at(toSink))
      const fault = async (proxies: readonly TcpProxy[], begin: (proxy: TcpProxy) => void, forMs: number) => {
        await sleep(100 + Math.random() * 50)
        proxies.forEach(begin)
        await sleep(forMs)
        for (const proxy of proxies) proxy.restore()
      }
      for (const proxies of [[toSink], [toSource], [toSink, toSource]]) {
        await fault(proxies, (proxy) => proxy.cut(), 50)
        await fault(proxies, (proxy) => proxy.stallReplies(), 200)
      }
      await fault([toSink, toSource], (proxy) => proxy.stall(), 300)
      await fault([toSink, toSource], (proxy) => proxy.stallReplies(), 4500) // until both ends have given up
      await writing.stop()
      await expectEqual(origin, destination, forwarding)
      await forwarding.stop()
      await expectSaved(origin, destination)
    })
  })
}
