import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { startServer, type TcpProxy, tcpProxy } from '../../src/testing/servers/index.ts'
import { within } from '../tools/reader.ts'
import { brokers, type Destination, type OwnServer, sqliteDestination } from './destinations.ts'
import { mysqlOrigin, sqliteOrigin } from './origins.ts'
import {
  checkEqual,
  checkRest,
  checkSaved,
  type Ends,
  forkBridge,
  killBridges,
  killBrokers,
  loseTails,
  type RunningBridge,
  routeAt,
  startBridge,
  startWriting,
} from './rounds.ts'

/** Disposed of with the test. */
function kept<T extends AsyncDisposable>(made: T): T {
  onTestFinished(() => made[Symbol.asyncDispose]())
  return made
}

test('SQLite to SQLite: processes that are killed lose nothing and repeat nothing', async () => {
  await killBridges({ origin: kept(sqliteOrigin()), destination: kept(sqliteDestination()) }, 10)
}, 120_000)

for (const [name, { start, startForgetful, make, loses }] of Object.entries(brokers)) {
  describe(`MySQL to ${name}`, { timeout: 120_000 }, () => {
    let mysql: OwnServer
    let server: OwnServer
    beforeAll(async () => {
      const started = await Promise.all([startServer('mysql', { from: ['docker', 'native'] }), start()])
      ;[mysql, server] = started as [OwnServer, OwnServer]
    })
    afterAll(async () => {
      await server?.[Symbol.asyncDispose]()
      await mysql?.[Symbol.asyncDispose]()
    })

    const newEnds = async (on = server): Promise<Ends & { readonly destination: Destination }> => ({
      origin: kept(await mysqlOrigin(mysql)),
      destination: kept(await make(on)),
    })

    test('processes that are killed lose nothing and repeat nothing', async () => {
      await killBridges(await newEnds(), 10)
    }, 120_000)

    test('a destination that is killed has everything once and in order, and nothing to repair unless it loses it', async () => {
      await killBrokers(await newEnds(), server, 10, loses)
    }, 300_000)

    test('a destination that loses its tail is refilled, also while the source is idle', async () => {
      await loseTails(await newEnds(kept(await startForgetful())), 3)
    }, 120_000)

    test('of three processes that are started by mistake one is left, and nothing is repeated', async () => {
      const ends = await newEnds()
      const writing = startWriting(ends.origin)
      const processes = [1, 2, 3].map(() => kept(forkBridge(routeAt(ends))))
      const endings = processes.map(({ ended }) => ended)
      const first = await within(Promise.race(endings), 20_000, 'the end of one')
      await sleep(200)
      await writing.stop()
      const others = await Promise.all(processes.map((process) => process.kill()))
      expect(first).toBe('ANOTHER_RUNNER')
      expect([undefined, 'ANOTHER_RUNNER']).toEqual(expect.arrayContaining(others))
      await checkRest(ends)
    })

    test('two routes into one log, beside what others write there, do not touch each other', async () => {
      const destination = kept(await make(server))
      const routes: Ends[] = []
      for (const each of ['one', 'two'])
        routes.push({ name: each, origin: kept(await mysqlOrigin(mysql)), destination })
      const writing = routes.map(({ origin }) => startWriting(origin))
      for (let round = 0; round < 2; round++) {
        const processes = routes.map((ends) => kept(forkBridge(routeAt(ends))))
        for (const { atWork } of processes) await within(atWork, 30_000, 'the first checkpoint')
        for (const process of processes) {
          await destination.writeForeign()
          expect(await process.kill()).toBe(undefined)
        }
      }
      for (const each of writing) await each.stop()
      const rest = routes.map((ends) => kept(startBridge(routeAt(ends)))) // both: an open transaction hides what follows it
      for (const [i, ends] of routes.entries()) {
        const forwarding = rest[i] as RunningBridge
        await checkEqual(ends, forwarding)
        await forwarding.stop()
        await checkSaved(ends)
        expect(forwarding.repairs.join()).not.toMatch(/refill/)
      }
    })

    test('two servers that freeze for a second lose nothing and repeat nothing', async () => {
      const ends = await newEnds()
      const writing = startWriting(ends.origin)
      const forwarding = kept(startBridge(routeAt(ends)))
      for (const frozen of [[mysql, server], [server], [mysql]]) {
        await sleep(100)
        for (const { process } of frozen) process.freeze()
        await sleep(1000 / frozen.length)
        for (const { process } of frozen) process.thaw()
      }
      await sleep(100)
      await writing.stop()
      await checkEqual(ends, forwarding)
      await forwarding.stop()
      await checkSaved(ends)
    })

    test('networks that are cut, and that lose replies, lose nothing and repeat nothing', async () => {
      const ends = await newEnds()
      const [toSource, toSink] = [kept(await tcpProxy(mysql)), kept(await tcpProxy(server))]
      const writing = startWriting(ends.origin)
      const { origin, destination } = ends
      const at = { name: 'route', source: origin.at(toSource), sink: destination.at('route', toSink) }
      const forwarding = kept(startBridge(at))
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
      await checkEqual(ends, forwarding)
      await forwarding.stop()
      await checkSaved(ends)
    })
  })
}
