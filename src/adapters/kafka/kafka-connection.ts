import { untilAborted } from '../../core/abort.ts'
import { OptionError, ReflexError } from '../../core/errors.ts'
import { checkKafkaClient, type KafkaClient } from './kafka-client.ts'
import { kafkaError, replyError } from './kafka-error.ts'
import { clusterRequest, metadataRequest, type TopicMetadata } from './protocol/metadata.ts'
import type { KafkaRequest } from './protocol/request.ts'

/** Connections of our own to a cluster. Every error that comes of them is a `ReflexError`. */
export interface KafkaConnection extends AsyncDisposable {
  /** What the cluster knows of a topic now. Throws if there is none, or if one of the partitions `leadersOf`, all by default, has no leader. */
  topic(name: string, options?: { readonly leadersOf?: readonly number[] }): Promise<TopicMetadata>
  /** The broker with a node id, connected. */
  broker(nodeId: number): Promise<KafkaBroker>
  /** The broker that coordinates the transactions of `transactionalId`. */
  coordinator(transactionalId: string): Promise<KafkaBroker>
  /** The broker that keeps the offsets of the consumer group `group`. */
  groupCoordinator(group: string): Promise<KafkaBroker>
  /** The broker that creates topics. */
  controller(): Promise<KafkaBroker>
  /** A broker that is connected already. */
  anyBroker(): Promise<KafkaBroker>
  /**
   * Lets a connection for data that a broker has closed since, as it does with idle ones (`connections.max.idle.ms`), be made
   * anew by the next request. Only for when all that was sent has been answered: nothing is sent twice by it.
   */
  forgetIdle(): void
  /** How many brokers are alive. */
  brokers(): number
}

/** A broker. It does not connect anew by itself: once a connection has broken, every call rejects. */
export interface KafkaBroker {
  /** Sends a request of our own; those with `forData` have a connection of theirs, so that they hold nothing up. */
  send<T>(request: KafkaRequest<T>, options?: { readonly forData?: boolean }): Promise<T>
  /** Whether the broker has left open the connection that is not for data. */
  isConnected(): boolean
  /** Calls one of kafkajs's own requests. */
  call<T>(request: (broker: KafkajsBroker) => Promise<T>): Promise<T>
}

/** `Broker` of kafkajs, as far as it is used. */
export interface KafkajsBroker {
  readonly connectionPool: {
    readonly pool: readonly KafkajsConnection[]
    getConnection(index: number): Promise<KafkajsConnection>
  }
  readonly versions: Readonly<Record<number, { readonly maxVersion: number }>> | null
  listOffsets(request: object): Promise<{ readonly responses: readonly TopicOffsets[] }>
  initProducerId(request: object): Promise<{ readonly producerId: string; readonly producerEpoch: number }>
  addPartitionsToTxn(request: object): Promise<unknown>
  endTxn(request: object): Promise<unknown>
  createTopics(request: object): Promise<unknown>
  metadata(topics: readonly string[]): Promise<unknown>
  describeGroups(request: object): Promise<{ readonly groups: readonly { readonly state: string }[] }>
  offsetCommit(request: object): Promise<unknown>
  describeConfigs(request: object): Promise<{ readonly resources: readonly DescribedConfigs[] }>
  findGroupCoordinator(request: object): Promise<{ readonly coordinator: { readonly nodeId: number } }>
}

interface DescribedConfigs {
  readonly configEntries: readonly { readonly configName: string; readonly configValue: string | null }[]
}

interface TopicOffsets {
  readonly partitions: readonly { readonly partition: number; readonly offset: string }[]
}

interface KafkajsConnection {
  readonly requestTimeout: number
  readonly socket?: { destroy(error?: Error): void }
  readonly requestQueue: { rejectAll(error: Error): void }
  isConnected(): boolean
  send<T>(request: KafkaRequest<T>): Promise<T>
  disconnect(): Promise<unknown>
}

/** `Cluster` of kafkajs, as far as it is used. */
interface KafkajsCluster {
  readonly brokerPool: {
    createBroker: (options: object) => KafkajsBroker
    readonly connectionPoolBuilder: { build: () => Promise<unknown> }
    readonly seedBroker?: KafkajsBroker
    readonly brokers: Readonly<Record<string, KafkajsBroker>>
  }
  connect(): Promise<void>
  refreshMetadata(): Promise<void>
  findBroker(o: { nodeId: number }): Promise<KafkajsBroker>
  findControllerBroker(): Promise<KafkajsBroker>
}

/** What a connection is for. */
export interface KafkaConnectionOptions {
  /** Names what is read or written, in errors. */
  readonly log: string
  /** Must exist, if one is given. */
  readonly topic: string | undefined
  readonly signal?: AbortSignal | undefined
}

/** Of kafkajs's two connections to each broker. */
const FOR_DATA = 1
const GROUP = 0
const TRANSACTION = 1
/** kafkajs tries more than once: this is for all of it. */
const WITHIN_MS = 4000
const METADATA = { apiKey: 3, version: 12 } as const
const FETCH = { apiKey: 1, version: 13 } as const

/** Makes fresh connections to the cluster of `kafka`. Throws an `OptionError` for a client that would retry by itself. */
export async function connectKafka(
  kafka: KafkaClient,
  { log, topic, signal }: KafkaConnectionOptions,
): Promise<KafkaConnection> {
  signal?.throwIfAborted()
  checkKafkaClient(kafka)
  const cluster = clusterOf(kafka)
  const { brokerPool } = cluster
  const { createBroker } = brokerPool
  brokerPool.createBroker = (options) => withOwnMetadata(createBroker(options), log, topic)
  let closing: Promise<void> | undefined

  /** Waits for kafkajs, but no longer than until the abort, or until it should have noticed that no one answers. */
  async function within<T>(work: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => late.reject(new Error(`no answer within ${WITHIN_MS} ms`)), WITHIN_MS)
    work.then(tidy, tidy)
    try {
      return await untilAborted(Promise.race([work, late.promise]), signal)
    } catch (error) {
      throw signal?.aborted ? signal.reason : kafkaError(log, error)
    } finally {
      clearTimeout(timer)
    }
  }
  /** kafkajs goes on connecting after it was given up. */
  function tidy(): void {
    if (closing !== undefined) void close()
  }
  function connectionsOf({ connectionPool }: KafkajsBroker): readonly KafkajsConnection[] {
    return connectionPool.pool
  }
  async function open(broker: KafkajsBroker): Promise<KafkaBroker> {
    const [control] = connectionsOf(broker)
    if (control !== undefined) checkKafkaClient(kafka, control.requestTimeout)
    if ((broker.versions?.[FETCH.apiKey]?.maxVersion ?? 0) < FETCH.version)
      throw new ReflexError(
        'KAFKA_UNSUPPORTED_VERSION',
        `${log}: the broker is older than Kafka 3.1, the first that can tell one topic from another of the same name`,
        { retriable: false },
      )
    return {
      send: async (request, { forData = false } = {}) => {
        const connection = await within(connected(broker, forData ? FOR_DATA : 0))
        return await within(connection.send(request))
      },
      isConnected: () => connectionsOf(broker)[0]?.isConnected() === true,
      call: async (request) => {
        await within(connected(broker, 0))
        return await within(request(broker))
      },
    }
  }

  const used = new Set<KafkajsConnection>()
  /** A connection that was made once and is broken stays so. */
  async function connected({ connectionPool }: KafkajsBroker, index: number): Promise<KafkajsConnection> {
    const there = connectionPool.pool[index] as KafkajsConnection
    if (closing !== undefined) throw new ReflexError('KAFKA_CONNECTION', `${log}: the connection has been closed`)
    if (!used.has(there)) {
      await connectionPool.getConnection(index)
      used.add(there)
    }
    if (!there.isConnected()) throw new ReflexError('KAFKA_CONNECTION', `${log}: the broker has closed the connection`)
    return there
  }
  const allBrokers = (): KafkajsBroker[] => {
    const { seedBroker, brokers } = cluster.brokerPool
    return [...new Set([...(seedBroker === undefined ? [] : [seedBroker]), ...Object.values(brokers)])]
  }
  const close = async (): Promise<void> => {
    const { connectionPoolBuilder } = cluster.brokerPool
    const closed = Object.assign(new Error('the connection has been closed'), { retriable: false })
    connectionPoolBuilder.build = () => Promise.reject(closed) // kafkajs would go on to the next broker
    await Promise.all(
      allBrokers()
        .flatMap(connectionsOf)
        .map(async (connection) => {
          // It would wait for a connection that is being made, and for the requests that are pending.
          if (!connection.isConnected()) connection.socket?.destroy(closed)
          connection.requestQueue.rejectAll(closed)
          await connection.disconnect()
          connection.socket?.destroy()
        }),
    )
  }
  const anyBroker = (): Promise<KafkaBroker> => {
    const { brokers, seedBroker } = cluster.brokerPool
    const connected = Object.values(brokers).find((broker) => connectionsOf(broker)[0]?.isConnected())
    return open(connected ?? (seedBroker as KafkajsBroker))
  }
  /** Not with kafkajs's own search, which hides the brokers' refusals. */
  const coordinatorOf = async (groupId: string, coordinatorType: number): Promise<KafkaBroker> => {
    const asked = { groupId, coordinatorType }
    const { coordinator } = await (await anyBroker()).call((broker) => broker.findGroupCoordinator(asked))
    return open(await within(cluster.findBroker({ nodeId: coordinator.nodeId })))
  }
  const connection: KafkaConnection = {
    topic: async (name, { leadersOf } = {}) => {
      const topic = await (await anyBroker()).send(metadataRequest(name))
      const leaderless = topic.partitions.find(
        ({ partition, leader }) => leader < 0 && (leadersOf === undefined || leadersOf.includes(partition)),
      )
      const wrong = topic.errorCode || (leaderless?.errorCode ?? 0)
      if (wrong !== 0) throw replyError(log, wrong)
      return topic
    },
    broker: async (nodeId) => open(await within(cluster.findBroker({ nodeId }))),
    coordinator: (transactionalId) => coordinatorOf(transactionalId, TRANSACTION),
    groupCoordinator: (group) => coordinatorOf(group, GROUP),
    controller: async () => open(await within(cluster.findControllerBroker())),
    anyBroker,
    forgetIdle: () => {
      for (const broker of allBrokers()) {
        const forData = connectionsOf(broker)[FOR_DATA]
        if (forData?.isConnected() === false) used.delete(forData)
      }
    },
    brokers: () => Object.keys(cluster.brokerPool.brokers).length,
    [Symbol.asyncDispose]: () => {
      closing ??= close()
      return closing
    },
  }
  try {
    await within(cluster.connect())
    await within(cluster.refreshMetadata())
    return connection
  } catch (error) {
    await connection[Symbol.asyncDispose]()
    throw error
  }
}

/** kafkajs would keep what it hears of every partition of a topic, and fail if one of them has no leader. */
function withOwnMetadata(broker: KafkajsBroker, log: string, name: string | undefined): KafkajsBroker {
  const { metadata } = broker
  broker.metadata = async (topics) => {
    if ((broker.versions?.[METADATA.apiKey]?.maxVersion ?? 0) < METADATA.version) return metadata.call(broker, topics)
    const connection = await broker.connectionPool.getConnection(0)
    const { controllerId, brokers, topic } = await connection.send(clusterRequest(name))
    if (topic !== undefined && topic.errorCode !== 0) throw replyError(log, topic.errorCode)
    return { controllerId, brokers, topicMetadata: [] }
  }
  return broker
}

/** kafkajs hands its cluster to an assigner of partitions, at once: the documented way to it without joining a group. */
function clusterOf(kafka: KafkaClient): KafkajsCluster {
  let cluster: unknown
  kafka.consumer({
    groupId: 'reflex-bridge, which joins no group',
    allowAutoTopicCreation: false,
    partitionAssigners: [
      (context) => {
        cluster = context.cluster
        return {} as never
      },
    ],
  })
  if (cluster === undefined || !('brokerPool' in Object(cluster)))
    throw new OptionError('kafka: expected a Kafka of kafkajs 2.2.4, but its consumer() has no cluster')
  return cluster as KafkajsCluster
}
