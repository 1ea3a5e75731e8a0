import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connectKafka } from '../../src/adapters/kafka/kafka-connection.ts'
import { commandLineClient } from '../../src/testing/servers/index.ts'
import { kafkaAdapterClient, kafkaTestClient } from '../subjects/kafka.ts'
import { eventually } from '../tools/reader.ts'

/** Brokers of one cluster. They end when it is disposed of. */
export interface KafkaNodes extends AsyncDisposable {
  /** The addresses without authentication, with commas between. */
  readonly url: string
  /** Of each listener besides, `host:port` of the first broker. */
  readonly listeners: Readonly<Record<string, string>>
  /** Resolves once each broker knows the topics, and their leaders lead: brokers hear of a new one at different times. */
  areKnown(...topics: readonly string[]): Promise<void>
  /** SIGKILL of a broker: from 1 on; the first is the controller too. */
  kill(node: number): Promise<void>
  /** Starts it again; resolves when it is taken in. */
  start(node: number): Promise<void>
}

/** Options of `kafkaNodes`. */
export interface KafkaNodesOptions {
  readonly brokers?: number
  /** Listeners besides that without authentication, by their protocol: `SASL_PLAINTEXT`, `SASL_SSL`. */
  readonly protocols?: readonly string[]
  /** Settings besides. */
  readonly config?: Readonly<Record<string, string>>
}

const CLUSTER_ID = 'cmVmbGV4LWJyaWRnZS1rYQ'

/** Starts brokers with settings that `startServer` does not know: several of them, and listeners with authentication. */
export async function kafkaNodes({ brokers = 1, protocols = [], config = {} }: KafkaNodesOptions): Promise<KafkaNodes> {
  const folder = await mkdtemp(join(tmpdir(), 'reflex-bridge-nodes-'))
  const [java = '', ...prefix] = await commandLineClient('kafka', 'kafka.Kafka')
  const ports = await freePorts(1 + brokers * (1 + protocols.length))
  const controller = ports.pop() as number
  const portsOf = Array.from({ length: brokers }, (_, i) =>
    ports.slice(i * (1 + protocols.length), (i + 1) * (1 + protocols.length)),
  )
  const running = new Map<number, ChildProcess>()

  async function configure(node: number): Promise<void> {
    const data = join(folder, `data-${node}`)
    await mkdir(data, { recursive: true })
    await writeFile(join(data, 'meta.properties'), `version=1\ncluster.id=${CLUSTER_ID}\nnode.id=${node}\n`)
    const listen = ['PLAINTEXT', ...protocols].map(
      (name, i) => `${name}://127.0.0.1:${(portsOf[node - 1] as number[])[i]}`,
    )
    const first = node === 1
    const copies = String(Math.min(3, brokers))
    const properties: Record<string, string> = {
      'node.id': String(node),
      'process.roles': first ? 'broker,controller' : 'broker',
      'controller.quorum.voters': `1@127.0.0.1:${controller}`,
      listeners: [...listen, ...(first ? [`CONTROLLER://127.0.0.1:${controller}`] : [])].join(),
      'advertised.listeners': listen.join(),
      'listener.security.protocol.map': [
        'CONTROLLER:PLAINTEXT',
        ...['PLAINTEXT', ...protocols].map((each) => `${each}:${each}`),
      ].join(),
      'inter.broker.listener.name': 'PLAINTEXT',
      'controller.listener.names': 'CONTROLLER',
      'log.dirs': data,
      'auto.create.topics.enable': 'false',
      'broker.session.timeout.ms': '3000',
      'broker.heartbeat.interval.ms': '500',
      'group.initial.rebalance.delay.ms': '0',
      'offsets.topic.replication.factor': copies,
      'offsets.topic.num.partitions': '1',
      'transaction.state.log.replication.factor': copies,
      'transaction.state.log.min.isr': '1',
      'transaction.state.log.num.partitions': '1',
      ...config,
    }
    const lines = Object.entries(properties).map(([key, value]) => `${key}=${value}\n`)
    await writeFile(join(folder, `${node}.properties`), lines.join(''))
  }
  function launch(node: number): void {
    const child = spawn(java, [...prefix, join(folder, `${node}.properties`)], {
      stdio: ['ignore', 'ignore', 'ignore'],
      env: { ...process.env, JDK_JAVA_OPTIONS: '-Xmx384m' },
    })
    running.set(node, child)
  }
  const url = portsOf.map(([port]) => `127.0.0.1:${port}`).join()
  /** Once all that run answer, and are known to each other. */
  async function taken(): Promise<void> {
    const admin = kafkaTestClient(url).admin()
    for (const deadline = Date.now() + 60_000; ; await new Promise((resolve) => setTimeout(resolve, 100))) {
      try {
        await admin.connect()
        const there = (await admin.describeCluster()).brokers.length
        if (there === running.size) break
        throw new Error(`${there} of ${running.size} brokers are there`)
      } catch (error) {
        if (Date.now() > deadline) throw error
      }
    }
    await admin.disconnect()
  }
  async function kill(node: number): Promise<void> {
    const child = running.get(node) as ChildProcess
    running.delete(node)
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  const end = async (): Promise<void> => {
    await Promise.all([...running.keys()].map(kill))
    await rm(folder, { recursive: true, force: true })
  }
  try {
    for (let node = 1; node <= brokers; node++) {
      await configure(node)
      launch(node)
    }
    await taken()
  } catch (error) {
    await end()
    throw error
  }
  return {
    url,
    listeners: Object.fromEntries(protocols.map((name, i) => [name, `127.0.0.1:${portsOf[0]?.[i + 1]}`])),
    areKnown: async (...topics) => {
      const admin = kafkaTestClient(url).admin()
      await admin.connect()
      for (const topic of topics) {
        for (const address of url.split(',')) {
          const isKnown = async (): Promise<boolean> => {
            await using connection = await connectKafka(kafkaAdapterClient(address), { log: 'test', topic })
            await connection.topic(topic)
            return true
          }
          await eventually(() => isKnown().catch(() => false), 30_000, `${topic} at ${address}`)
        }
        const leads = async (): Promise<boolean> => (await admin.fetchTopicOffsets(topic)).length > 0
        await eventually(() => leads().catch(() => false), 30_000, `the leaders of ${topic}`)
      }
      await admin.disconnect()
    },
    kill,
    start: async (node) => {
      launch(node)
      await taken()
    },
    [Symbol.asyncDispose]: end,
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer().listen(0, '127.0.0.1')
      await once(server, 'listening')
      return server
    }),
  )
  const ports = servers.map((server) => (server.address() as { port: number }).port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}
