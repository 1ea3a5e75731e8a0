import { startServer } from '../src/testing/servers/index.ts'
import { brokers, type Destination, type OwnServer } from '../test/bridge/destinations.ts'
import { mysqlOrigin } from '../test/bridge/origins.ts'
import { type Ends, killBridges, killBrokers, loseTails } from '../test/bridge/rounds.ts'

/** What came of one kind of fault under routes into one broker. */
export interface RouteRounds {
  /** For example `mysql to kafka, tails lost`. */
  readonly route: string
  /** Of the broker. */
  readonly version: string
  readonly rounds: number
  /** Undefined if all was there, once and in order. */
  readonly failure: string | undefined
  readonly elapsedMs: number
}

/** So many rounds of each fault go into one log, which is then held against the table. */
const ROUNDS_A_LOG = 10

/**
 * Plays `rounds` kills of the bridge, kills of the broker and losses of what it has confirmed, for each broker, with a real
 * MySQL; ends early with the signal, and a kind of fault with its first failure.
 */
export async function soakRoutes(
  rounds: number,
  { signal, log }: { readonly signal: AbortSignal; log(line: string): void },
): Promise<RouteRounds[]> {
  const results: RouteRounds[] = []
  await using mysql = await startServer('mysql', { from: ['native', 'docker'] })
  for (const [name, { start, startForgetful, make, loses }] of Object.entries(brokers)) {
    type Play = (ends: Ends & { readonly destination: Destination }, count: number, on: OwnServer) => Promise<unknown>
    const faults: Readonly<Record<string, readonly [begin: typeof start, play: Play]>> = {
      'bridges killed': [start, killBridges],
      'brokers killed': [start, (ends, count, on) => killBrokers(ends, on, count, loses)],
      'tails lost': [startForgetful, loseTails],
    }
    for (const [fault, [begin, play]] of Object.entries(faults)) {
      if (signal.aborted) return results
      const startedAt = performance.now()
      const route = `mysql to ${name}, ${fault}`
      await using server = await begin()
      let played = 0
      let failure: string | undefined
      while (played < rounds && failure === undefined && !signal.aborted) {
        const count = Math.min(ROUNDS_A_LOG, rounds - played)
        failure = await playInto(await make(server), (ends) => play(ends, count, server))
        if (failure === undefined) played += count
        log(`${route}: ${failure ?? `${played} rounds`}`)
      }
      results.push({
        route,
        version: server.version,
        rounds: played,
        failure,
        elapsedMs: performance.now() - startedAt,
      })
    }
  }
  return results

  /** Resolves with what went wrong. */
  async function playInto(
    made: Destination,
    play: (ends: Ends & { readonly destination: Destination }) => Promise<unknown>,
  ): Promise<string | undefined> {
    await using destination = made
    await using origin = await mysqlOrigin(mysql)
    try {
      await play({ origin, destination })
      return undefined
    } catch (error) {
      return String(error)
    }
  }
}
