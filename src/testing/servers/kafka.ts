import { cp, mkdir, readdir, realpath, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ask } from './ask.ts'
import { cachedFolder, cacheFolder } from './cached-folder.ts'
import { findExecutable } from './find-executable.ts'
import { freePort } from './free-port.ts'
import { findJava, findMaven } from './java.ts'
import { parseAddress } from './parse-address.ts'
import { runCommand } from './run-command.ts'
import type { Installation, ServerContext, ServerDefinition } from './server-definition.ts'
import { startServerProcess } from './server-process.ts'

const kafkaVersion = '4.3.0'
const CLASSES_WITHIN_MS = 60_000
const clusterId = 'cmVmbGV4LWJyaWRnZS1rYQ' // 16 bytes in base64, as Kafka wants them

/** Kafka 4.3 in both columns: one node, broker and controller (KRaft). */
export const kafka: ServerDefinition = {
  name: 'kafka',
  variable: 'KAFKA_BROKERS',
  title: () => 'kafka 4.3',
  url: ({ host, port }) => `${host}:${port}`,
  address: (brokers) => parseAddress('KAFKA_BROKERS', `kafka://${brokers.split(',')[0]?.trim()}`, ['kafka:'], 9092),
  container: (context) => ({
    image: context.env['KAFKA_IMAGE'] || `apache/kafka:${kafkaVersion}`,
    port: 9092,
    environment: ({ host, port }) => {
      const values = properties({
        listen: ['0.0.0.0', 9092],
        advertised: [host, port],
        controller: 9093,
        data: '/tmp/kafka-logs',
      })
      const variables = Object.entries(values).map(
        ([key, value]) => `KAFKA_${key.replaceAll('.', '_').toUpperCase()}=${value}`,
      )
      return [...variables, `CLUSTER_ID=${clusterId}`, `KAFKA_HEAP_OPTS=-Xmx512m`]
    },
  }),
  async installed(context) {
    const script =
      (await findExecutable('kafka-server-start.sh', context.env)) ??
      (await findExecutable('kafka-server-start', context.env))
    if (script === undefined) return undefined
    const jars = join(dirname(dirname(await realpath(script))), 'libs')
    const version = /^kafka_2\.13-(4\.\d+\.\d+)\.jar$/m.exec((await readdir(jars).catch(() => [])).join('\n'))?.[1]
    return version === undefined ? undefined : installation(context, version, jars)
  },
  async fetched(context) {
    const jars = await cachedFolder(
      join(cacheFolder(context.env), `kafka-${kafkaVersion}`),
      async (partial) => {
        if (context.env['REFLEX_BRIDGE_FETCH'] === 'off')
          throw new Error('not in the cache, and REFLEX_BRIDGE_FETCH=off')
        const maven = await findMaven(context)
        const started = Date.now()
        context.log(`fetching ${kafka.title(context.column)} (Maven)`)
        await copyJars(maven, partial, context)
        context.log(`fetched ${kafka.title(context.column)} in ${((Date.now() - started) / 1000).toFixed(1)} s`)
      },
      context.signal,
    )
    return installation(context, kafkaVersion, jars)
  },
  // ApiVersions (key 18, version 0), correlation id 7, no client id: answered once the broker serves requests.
  probe: async (address, signal) => {
    const request = Buffer.from([0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff])
    await ask(
      address,
      request,
      (received) => (received.length >= 8 && received.readInt32BE(4) === 7 ? true : undefined),
      signal,
    )
    return undefined
  },
}

const project = `<project>
  <modelVersion>4.0.0</modelVersion><groupId>reflex-bridge</groupId><artifactId>kafka-server</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>${kafkaVersion}</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>${kafkaVersion}</version>
      <exclusions><exclusion><groupId>org.apache.kafka</groupId><artifactId>connect-runtime</artifactId></exclusion></exclusions>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`

async function copyJars(maven: readonly string[], folder: string, { signal, env }: ServerContext): Promise<void> {
  const work = `${folder}.maven`
  await mkdir(work)
  try {
    await writeFile(join(work, 'pom.xml'), project)
    const goal = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies'
    const folders = [`-DoutputDirectory=${folder}`, `-Dmaven.repo.local=${join(work, 'repository')}`]
    await runCommand([...maven, '-q', '-B', goal, ...folders], { signal, cwd: work, env })
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

async function installation(context: ServerContext, version: string, jars: string): Promise<Installation> {
  const java = await findJava(context)
  const quiet = '-Dorg.slf4j.simpleLogger.defaultLogLevel=warn'
  const main = (className: string, ...flags: string[]) => [...java, ...flags, quiet, '-cp', join(jars, '*'), className]
  const config = (folder: string) => join(folder, 'server.properties')

  const template = () =>
    cachedFolder(
      join(cacheFolder(context.env), 'data', `kafka-${version}`),
      async (partial) => {
        await writeConfig(config(partial), {
          listen: ['127.0.0.1', 9092],
          controller: 9093,
          data: join(partial, 'data'),
        })
        await runCommand([...main('kafka.tools.StorageTool'), 'format', '-t', clusterId, '-c', config(partial)], {
          signal: context.signal,
        })
      },
      context.signal,
    )
  /** The classes of a broker that has been up, as the machine reads them: with them one starts in half the time. */
  const classes = () =>
    cachedFolder(
      join(cacheFolder(context.env), 'data', `kafka-${version}-classes`),
      async (partial) => {
        const archiving = broker(`-XX:ArchiveClassesAtExit=${join(partial, 'kafka.jsa')}`)
        await using server = await startServerProcess({
          ...{ name: 'kafka', installation: { ...installed, prepare, command: archiving }, probe: kafka.probe },
          ...{ readyTimeoutMs: CLASSES_WITHIN_MS, signal: context.signal },
        })
        await server.process.stop()
      },
      context.signal,
    )
  const broker =
    (...flags: string[]) =>
    (folder: string) => [
      ...main(
        'kafka.Kafka',
        '-Xmx512m',
        '-XX:+UseSerialGC',
        '-XX:TieredStopAtLevel=1',
        '-XX:+IgnoreUnrecognizedVMOptions',
        ...flags,
      ),
      ...[config(folder), ...context.args],
    ]
  const prepare = async (folder: string): Promise<void> => {
    await cp(join(await template(), 'data'), join(folder, 'data'), { recursive: true })
  }
  let archive = ''
  const installed: Installation = {
    version,
    prepare: async (folder) => {
      archive = join(await classes(), 'kafka.jsa')
      await prepare(folder)
    },
    configure: async (folder, port) => {
      await writeConfig(config(folder), {
        listen: ['127.0.0.1', port],
        controller: await freePort(),
        data: join(folder, 'data'),
      })
    },
    // Of another Java it is not used, which is no reason to warn.
    command: (folder) => broker(`-XX:SharedArchiveFile=${archive}`, '-Xlog:disable')(folder),
    cli: (className) =>
      className.includes('.') ? main(className, '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1') : undefined,
  }
  return installed
}

interface Node {
  readonly listen: readonly [host: string, port: number]
  /** What clients are told. @default listen */
  readonly advertised?: readonly [host: string, port: number]
  readonly controller: number
  readonly data: string
}

function properties({ listen, advertised = listen, controller, data }: Node): Record<string, string> {
  return {
    'node.id': '1',
    'process.roles': 'broker,controller',
    'controller.quorum.voters': `1@127.0.0.1:${controller}`,
    listeners: `PLAINTEXT://${listen.join(':')},CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': `PLAINTEXT://${advertised.join(':')}`,
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'PLAINTEXT',
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': data,
    'num.partitions': '1',
    'auto.create.topics.enable': 'false',
    // After a kill the node is taken in again only when its last session has run out: 9 s by default.
    'broker.session.timeout.ms': '3000',
    'broker.heartbeat.interval.ms': '500',
    'group.initial.rebalance.delay.ms': '0',
    'offsets.topic.replication.factor': '1',
    'offsets.topic.num.partitions': '1',
    'transaction.state.log.replication.factor': '1',
    'transaction.state.log.min.isr': '1',
    'transaction.state.log.num.partitions': '1',
    'share.coordinator.state.topic.replication.factor': '1',
    'share.coordinator.state.topic.min.isr': '1',
    'share.coordinator.state.topic.num.partitions': '1',
  }
}

function writeConfig(file: string, node: Node): Promise<void> {
  const lines = Object.entries(properties(node)).map(([key, value]) => `${key}=${value}\n`)
  return writeFile(file, lines.join(''))
}
