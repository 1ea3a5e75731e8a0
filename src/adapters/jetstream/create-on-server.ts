import { isRefusal, type JetStreamConnection } from './nats-connection.ts'
import type { StreamConfig } from './stream-info.ts'

/** A stream of so many copies stays readable and writable without one of its servers. */
const SAFE_REPLICAS = 3
/**
 * The server is in no cluster. That a cluster has too few servers (10005) is also said while one of them is down, and then the stream
 * would have too few replicas for good.
 */
const ALONE = 10074
const NAME_TAKEN = 10058
/** The servers of a cluster agree upon a stream first. */
const WITHIN_MS = 5000

/**
 * Creates a stream; without `num_replicas`, with 3, or 1 at a server that is in no cluster. Resolves with its configuration, or
 * undefined if there is one of that name with another configuration by now. Rejects with `JETSTREAM_10005` in a cluster that has
 * not as many servers, or not at the moment.
 */
export async function createOnServer(
  { api }: JetStreamConnection,
  name: string,
  config: StreamConfig,
): Promise<StreamConfig | undefined> {
  const create = async (replicas: number): Promise<StreamConfig | undefined> => {
    const body = { name, ...config, num_replicas: replicas }
    const options = { unless: [NAME_TAKEN], timeoutMs: WITHIN_MS }
    return (await api<{ config: StreamConfig } | undefined>(`STREAM.CREATE.${name}`, body, options))?.config
  }
  try {
    return await create(config.num_replicas ?? SAFE_REPLICAS)
  } catch (error) {
    if (config.num_replicas === undefined && isRefusal(error, ALONE)) return await create(1)
    throw error
  }
}
