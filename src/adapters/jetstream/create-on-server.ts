import { isRefusal, type JetStreamConnection } from './nats-connection.ts'
import type { StreamConfig } from './stream-info.ts'

/** A stream of so many copies stays readable and writable without one of its servers. */
const MOST_REPLICAS = 3
/** Not in a cluster; not enough servers in it. */
const TOO_MANY_REPLICAS = [10074, 10005]
const NAME_TAKEN = 10058
/** The servers of a cluster agree upon a stream first. */
const WITHIN_MS = 5000

/**
 * Creates a stream; without `num_replicas`, with as many as the cluster gives, up to 3. Resolves with its configuration, or
 * undefined if there is one of that name with another configuration by now.
 */
export async function createOnServer(
  { api }: JetStreamConnection,
  name: string,
  config: StreamConfig,
): Promise<StreamConfig | undefined> {
  for (let replicas = config.num_replicas ?? MOST_REPLICAS; ; replicas--) {
    const body = { name, ...config, num_replicas: replicas }
    try {
      const options = { unless: [NAME_TAKEN], timeoutMs: WITHIN_MS }
      return (await api<{ config: StreamConfig } | undefined>(`STREAM.CREATE.${name}`, body, options))?.config
    } catch (error) {
      const fewer = config.num_replicas === undefined && replicas > 1
      if (!fewer || !TOO_MANY_REPLICAS.some((code) => isRefusal(error, code))) throw error
    }
  }
}
