import { connect } from '@nats-io/transport-node'
import { freePort } from '../../src/testing/servers/free-port.ts'
import type { NatsAdmin } from '../subjects/nats-admin.ts'
import { errorOf, eventually } from '../tools/reader.ts'
import { ownServer, testAdmin } from './fixture.ts'

type ServerWithProcess = Awaited<ReturnType<typeof ownServer>>

/** Three servers that are one cluster, which ends with the test. */
export interface NatsCluster {
  readonly servers: readonly ServerWithProcess[]
  /** Where they are, for a client that takes any of them. */
  readonly urls: string[]
  /** Any of them that answers. */
  readonly admin: NatsAdmin
  /** The leader of a stream at the moment. */
  leaderOf(stream: string): Promise<ServerWithProcess>
}

/** Starts a cluster that has JetStream. */
export async function natsCluster(): Promise<NatsCluster> {
  const ports = [await freePort(), await freePort(), await freePort()]
  const routes = ports.map((port) => `nats://127.0.0.1:${port}`)
  const start = (route: string, i: number): Promise<ServerWithProcess> =>
    ownServer({
      args: [
        ...['--server_name', `s${i}`, '--cluster_name', 'c'],
        ...['--cluster', route, '--routes', routes.join(',')],
      ],
    })
  const servers = await Promise.all(routes.map(start))
  const urls = servers.map(({ url }) => url)
  const any = await testAdmin(urls[0], { servers: urls })
  const admin: NatsAdmin = {
    ...any,
    createStream: async (stream, config) => {
      const isMade = (): Promise<boolean> =>
        any.createStream(stream, config).then(
          () => true,
          (error: unknown) => {
            if (String(error).includes(NO_PEERS)) return false // on a busy machine one misses a heartbeat, and is back at the next
            throw error
          },
        )
      await eventually(isMade, 30_000, 'enough servers of the cluster')
    },
  }
  const isReady = async (): Promise<boolean> => {
    const probe = { name: 'probe', subjects: ['probe'], num_replicas: 3 }
    return (await errorOf(admin.api('STREAM.CREATE.probe', probe).then(() => Promise.reject(READY)))) === READY
  }
  await eventually(isReady, 60_000, 'the cluster')
  // They hear of one another at different times.
  const tellsOfAll = async (url: string): Promise<boolean> => {
    const connection = await connect({ servers: url, reconnect: false })
    const told = new Set(connection.info?.connect_urls).size
    await connection.close()
    return told === servers.length
  }
  await Promise.all(urls.map((url) => eventually(() => tellsOfAll(url), 30_000, `${url} to tell of all servers`)))
  return {
    servers,
    urls,
    admin,
    leaderOf: async (stream) => {
      let leader: string | undefined
      const hasLeader = async (): Promise<boolean> => {
        const info = await admin.info(stream).catch(() => undefined) // it has none at the moment, or the admin's server has gone
        leader = (info as { cluster?: { leader?: string } } | undefined)?.cluster?.leader
        return leader !== undefined
      }
      await eventually(hasLeader, 30_000, `a leader of ${stream}`)
      return servers[Number(leader?.slice(1))] as ServerWithProcess
    },
  }
}

/** `JSClusterNoPeersErrF`. */
const NO_PEERS = '"err_code":10005'
const READY = new Error('ready')
