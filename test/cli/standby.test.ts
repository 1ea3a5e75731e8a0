import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { expect, inject, it, onTestFinished } from 'vitest'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { events, jsonLines, newFolder, type Running, start } from './command.ts'
import { mysqlLog, redisLog, type TestLog } from './logs.ts'

const LEASE_MS = 1500
const soon = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20))

interface Pair {
  readonly source: TestLog
  readonly sink: TestLog
  /** How many events are in the destination. */
  length(): Promise<number>
  /** Starts a process with the one configuration, which may reach the source and the destination by other ports. */
  start(via?: { readonly mysql?: number; readonly redis?: number }): Running
}

async function pair(): Promise<Pair> {
  const [source, sink] = [await mysqlLog(), await redisLog()]
  const folder = newFolder()
  let started = 0
  const { redis } = inject('servers')
  const client = new Redis(redis.url)
  onTestFinished(() => client.disconnect())
  return {
    source,
    sink,
    length: () => client.xlen(sink.keys['key'] as string),
    start: (via = {}) => {
      const url = new URL(source.url)
      if (via.mysql !== undefined) url.port = String(via.mysql)
      const config = {
        ...{ createTables: true, standby: true, leaseMs: LEASE_MS },
        routes: {
          orders: {
            source: { url: url.href },
            sink: { url: `redis://127.0.0.1:${via.redis ?? redis.port}`, ...sink.keys },
          },
        },
      }
      const file = `bridge-${started++}.json`
      writeFileSync(join(folder, file), JSON.stringify(config))
      return start(['run', file], { cwd: folder })
    },
  }
}

/** Writes to the source for as long as it is not stopped. */
function writer(source: TestLog): { readonly written: () => number; stop(): Promise<number> } {
  let written = 0
  let stopped = false
  const writing = (async () => {
    while (!stopped) {
      await source.append(events(20, written))
      written += 20
      await soon()
    }
  })()
  return {
    written: () => written,
    stop: async () => {
      stopped = true
      await writing
      return written
    },
  }
}

const HAS = /has the lease of the route, token (\d+)/
const hasLease = ({ stdout }: Running): boolean => HAS.test(stdout())
const tokensOf = ({ stdout }: Running): number[] =>
  [...stdout().matchAll(new RegExp(HAS, 'g'))].map(([, token]) => Number(token))

/** Resolves when all that has been written until now is in the destination. */
async function caughtUp({ length }: Pair, written: number): Promise<void> {
  while ((await length()) < written) await soon()
}

async function expectSame(pair: Pair, written: number): Promise<void> {
  await caughtUp(pair, written)
  const { sink } = pair
  const ids = (await sink.read()).map(({ headers }) => headers['reflex-source-id'])
  expect(ids).toEqual(Array.from({ length: written }, (_, i) => String(i + 1)))
}

it('one of three processes has a route; another takes over when it is killed or frozen, with nothing lost, twice or out of order', async () => {
  const stage = await pair()
  const writing = writer(stage.source)
  const proxies = await Promise.all([1, 2, 3].map(() => tcpProxy(inject('servers').redis)))
  onTestFinished(async () => {
    for (const proxy of proxies) await proxy[Symbol.asyncDispose]()
  })
  const processes = proxies.map(({ port }) => stage.start({ redis: port }))
  const holder = async (of: readonly Running[]): Promise<Running> => {
    await Promise.race(of.map((each) => each.printed(HAS)))
    return of.find(hasLease) as Running
  }
  const first = await holder(processes)
  const others = processes.filter((each) => each !== first)
  await Promise.all(others.map((each) => each.printed(/standby, while .* has the route/)))
  await caughtUp(stage, writing.written())

  const killedAt = performance.now()
  first.child.kill('SIGKILL')
  const second = await holder(others)
  expect(performance.now() - killedAt).toBeLessThan(5000)
  await caughtUp(stage, writing.written())

  // Frozen with an append on its way, which arrives when another has taken over.
  const way = proxies[processes.indexOf(second)] as (typeof proxies)[number]
  way.stall()
  const onTheWay = writing.written() + 200
  while (writing.written() < onTheWay) await soon()
  const frozenAt = performance.now()
  second.child.kill('SIGSTOP')
  const [third] = others.filter((each) => each !== second) as [Running]
  await third.printed(HAS)
  expect(performance.now() - frozenAt).toBeLessThan(5000)
  await caughtUp(stage, writing.written())
  way.restore()
  await caughtUp(stage, writing.written())
  second.child.kill('SIGCONT')
  await second.printed(/LEASE_LOST/)
  await second.printed(/standby, while .* has the route[\s\S]*standby, while .* has the route/)
  await expectSame(stage, await writing.stop())
  const tokens = [first, second, third].flatMap(tokensOf)
  expect(new Set(tokens).size).toBe(tokens.length)

  // A clean end gives the lease back at once.
  const had = tokensOf(second).length
  const endedAt = performance.now()
  third.child.kill('SIGTERM')
  expect((await third.ended).code).toBe(0)
  while (tokensOf(second).length === had) await soon()
  expect(performance.now() - endedAt).toBeLessThan(5000)
  second.child.kill('SIGTERM')
  const { code, stdout } = await second.ended
  expect(code).toBe(0)
  expect(jsonLines(stdout).filter(({ level }) => level === 'error')).toEqual([])
})

it('another takes over when a process has lost its network, to the database or to the destination', async () => {
  const { mysql, redis } = inject('servers')
  await using database = await tcpProxy(mysql)
  await using destination = await tcpProxy(redis)
  const stage = await pair()
  const writing = writer(stage.source)
  const first = stage.start({ mysql: database.port })
  await first.printed(HAS)
  const second = stage.start({ redis: destination.port })
  await second.printed(/standby, while/)
  await caughtUp(stage, writing.written())

  const cutAt = performance.now()
  database.stall()
  await second.printed(HAS)
  expect(performance.now() - cutAt).toBeLessThan(5000)
  await caughtUp(stage, writing.written())
  database.restore()
  await first.printed(/LEASE_LOST/)
  await first.printed(/standby, while .* has the route/)

  const had = tokensOf(first).length
  destination.cut()
  while (tokensOf(first).length === had) await soon()
  destination.restore()
  await expectSame(stage, await writing.stop())
})
