import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  AclOperationTypes,
  AclPermissionTypes,
  AclResourceTypes,
  ConfigResourceTypes,
  Kafka,
  type KafkaConfig,
  ResourcePatternTypes,
} from 'kafkajs'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { kafkaFailFast, kafkaPartition, kafkaSink } from '../../src/adapters/kafka/index.ts'
import { codeOf, errorKind, isRetriable } from '../../src/core/errors.ts'
import type { SinkWriter } from '../../src/core/sink.ts'
import { wireNames } from '../../src/core/wire.ts'
import { commandLineClient } from '../../src/testing/servers/index.ts'
import { insertInto, jsonLines, events as newEvents, newFolder, run } from '../cli/command.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { committedEvents, kafkaTestClient } from '../subjects/kafka.ts'
import { errorOf, reader } from '../tools/reader.ts'
import { type KafkaNodes, kafkaNodes } from './kafka-nodes.ts'
import { events, idsOf, SOURCE } from './sink-route.ts'

const PASSWORD = 'p@ss w:rd/#1'
const WRONG = 'wr@ng w:rd/#2'
const PROTOCOLS = ['SASL_PLAINTEXT', 'SASL_SSL'] as const
type Protocol = (typeof PROTOCOLS)[number]

let folder: string
let authority: string
let nodes: KafkaNodes

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'reflex-bridge-sasl-'))
  authority = await certificate(join(folder, 'store.p12'))
  await writeFile(join(folder, 'ca.pem'), authority)
  const login = 'org.apache.kafka.common.security.plain.PlainLoginModule required'
  const jaas = `${login} user_bridge="${PASSWORD}" user_clerk="${PASSWORD}";`
  const listeners = PROTOCOLS.flatMap((protocol) => {
    const prefix = `listener.name.${protocol.toLowerCase()}`
    return [
      [`${prefix}.sasl.enabled.mechanisms`, 'PLAIN'],
      [`${prefix}.plain.sasl.jaas.config`, jaas],
    ]
  })
  nodes = await kafkaNodes({
    protocols: PROTOCOLS,
    config: {
      ...Object.fromEntries(listeners),
      'ssl.keystore.location': join(folder, 'store.p12'),
      'ssl.keystore.type': 'PKCS12',
      'ssl.keystore.password': STORE_PASSWORD,
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': 'User:ANONYMOUS;User:bridge',
    },
  })
}, 120_000)
afterAll(async () => {
  await nodes[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

const STORE_PASSWORD = 'changeit'

/** Makes a key and a certificate for it that only itself has signed. Resolves with the certificate. */
async function certificate(store: string): Promise<string> {
  const [java = '', ...prefix] = await commandLineClient('kafka', 'sun.security.tools.keytool.Main')
  const keytool = (...args: string[]): Promise<{ stdout: string }> =>
    promisify(execFile)(java, [
      ...prefix,
      ...args,
      '-alias',
      'broker',
      '-keystore',
      store,
      '-storepass',
      STORE_PASSWORD,
    ])
  const name = ['-dname', 'CN=127.0.0.1', '-ext', 'san=ip:127.0.0.1']
  await keytool('-genkeypair', '-keyalg', 'EC', ...name, '-storetype', 'PKCS12')
  return (await keytool('-exportcert', '-rfc')).stdout
}

function client(protocol: Protocol, password: string, username = 'bridge'): Kafka {
  const sasl: KafkaConfig['sasl'] = { mechanism: 'plain', username, password }
  const ssl = protocol === 'SASL_SSL' ? { ssl: { ca: authority } } : {}
  return new Kafka({ brokers: [nodes.listeners[protocol] as string], ...kafkaFailFast, sasl, ...ssl })
}

/** A new topic, made without authentication. */
async function newTopic(): Promise<{ topic: string; checkpointTopic: string }> {
  const topic = fresh('out')
  const unsafe = new Kafka({ brokers: [nodes.url], ...kafkaFailFast })
  await kafkaSink(unsafe, { topic }).createTopic()
  return { topic, checkpointTopic: fresh('checkpoints') }
}

describe.each(PROTOCOLS)('%s with a user and password', (protocol) => {
  test('carries a sink, and a source that reads what it wrote', async () => {
    const names = await newTopic()
    const kafka = client(protocol, PASSWORD)
    await using writer = await kafkaSink(kafka, names).open({ route: 'r', source: SOURCE })
    await writer.append(events(20), '20')
    const { stream } = kafkaPartition(kafka, { topic: names.topic, partition: 0 })
    await using all = reader(await stream('', {}))
    expect((await all.take(20)).map(({ headers }) => headers[wireNames.sourceId])).toEqual(idsOf(events(20)))
  })

  test('refuses a wrong password at once, with what to do, and does not show it', async () => {
    const names = await newTopic()
    const kafka = client(protocol, WRONG)
    const attempts = [
      () => kafkaSink(kafka, names).open({ route: 'r', source: SOURCE }),
      () => kafkaSink(kafka, names).createTopic(),
      () => kafkaSink(kafka, names).audit(),
      () => kafkaPartition(kafka, { topic: names.topic, partition: 0 }).stream('', {}),
    ]
    for (const attempt of attempts) {
      const error = await errorOf(attempt(), 5000)
      expect([codeOf(error), isRetriable(error)]).toEqual(['KAFKA_SASL_AUTHENTICATION_FAILED', false])
      expect(String(error)).toContain('the user name or password is wrong')
      expect(JSON.stringify([String(error), error, (error as Error).cause])).not.toContain(WRONG)
    }
  })

  test('is given in a URL of the command line, where the password is not shown either', async () => {
    const { topic, checkpointTopic } = await newTopic()
    const cwd = newFolder()
    insertInto(join(cwd, 'shop.db'), 'events', newEvents(5))
    const tls = protocol === 'SASL_SSL' ? `, ca: ${join(folder, 'ca.pem')}` : ''
    const url = `kafka://bridge:\${PASSWORD}@${nodes.listeners[protocol]}`
    const sink = `{ url: '${url}', topic: ${topic}, checkpointTopic: ${checkpointTopic}${tls} }`
    const routes = `routes:\n  orders: { source: { url: sqlite:shop.db }, sink: ${sink} }\n`
    await writeFile(join(cwd, 'bridge.yaml'), `createTables: true\n${routes}`)
    const runWith = (password: string, command: string, ...options: string[]): ReturnType<typeof run> =>
      run([command, 'bridge.yaml', ...options], { cwd, env: { PASSWORD: encodeURIComponent(password) } })

    const [checked, good, bad] = [
      await runWith(PASSWORD, 'check'),
      await runWith(PASSWORD, 'run', '--once'),
      await runWith(WRONG, 'run', '--once', '--debug'), // else it would wait until the password is right
    ]
    expect([checked.code, good.code, bad.code]).toEqual([0, 0, 1])
    expect(good.stdout).toContain('5 events forwarded')
    expect(jsonLines(bad.stdout).filter(({ level }) => level === 'error')).toMatchObject([
      { code: 'KAFKA_SASL_AUTHENTICATION_FAILED', msg: expect.stringContaining('the user name or password is wrong') },
    ])
    for (const { stdout, stderr } of [checked, good, bad])
      for (const secret of [PASSWORD, WRONG, encodeURIComponent(PASSWORD), encodeURIComponent(WRONG)])
        expect(stdout + stderr).not.toContain(secret)
  })
})

describe('a user without all privileges', () => {
  /** Permits the clerk, who may do nothing else, these operations. Resolves with how to take them back. */
  async function permit(
    resources: readonly (readonly [type: AclResourceTypes, name: string, operations: readonly AclOperationTypes[]])[],
  ): Promise<() => Promise<void>> {
    const admin = kafkaTestClient(nodes.url).admin()
    await admin.connect()
    onTestFinished(() => admin.disconnect())
    const acl = resources.flatMap(([resourceType, resourceName, operations]) =>
      operations.map((operation) => ({
        ...{ resourceType, resourceName, resourcePatternType: ResourcePatternTypes.LITERAL },
        ...{ principal: 'User:clerk', host: '*', operation, permissionType: AclPermissionTypes.ALLOW },
      })),
    )
    await admin.createAcls({ acl })
    return async () => void (await admin.deleteAcls({ filters: acl }))
  }
  const { READ, WRITE, DESCRIBE } = AclOperationTypes
  async function clerkRoute() {
    const names = await newTopic()
    await (await kafkaSink(client('SASL_PLAINTEXT', PASSWORD), names).open({ route: 'other', source: SOURCE }))[
      Symbol.asyncDispose
    ]()
    const notes: string[] = []
    const kafka = client('SASL_PLAINTEXT', PASSWORD, 'clerk')
    const sink = kafkaSink(kafka, { ...names, note: (text) => void notes.push(text) })
    const open = async (): Promise<SinkWriter> => {
      const writer = await sink.open({ route: 'r', source: SOURCE })
      onTestFinished(() => writer[Symbol.asyncDispose]())
      return writer
    }
    const topics = [names.topic, names.checkpointTopic].map(
      (name) => [AclResourceTypes.TOPIC, name, [READ, WRITE, DESCRIBE]] as const,
    )
    const id = [AclResourceTypes.TRANSACTIONAL_ID, `reflex-bridge:${names.topic}:r`, [WRITE, DESCRIBE]] as const
    return { ...names, sink, open, notes, topics, id }
  }

  test('who may not read the settings of a topic is told so, can write all the same, and is refused what is too large', async () => {
    const { open, notes, topics, id, topic } = await clerkRoute()
    await permit([...topics, id])
    const writer = await open()
    expect(notes.filter((note) => note.includes(`topic ${topic} `))).toEqual([
      expect.stringMatching(/ACLs do not permit DescribeConfigs on it; grant that/),
    ])
    await writer.append(events(5), '5')
    const error = await errorOf(writer.append(events(1, { from: 6, bytes: 1_200_000 }), '6'))
    expect([codeOf(error), isRetriable(error)]).toEqual(['EVENT_TOO_LARGE', false])
    expect(String(error)).toMatch(/the event 6 makes a batch of 12001\d\d bytes, more than max\.message\.bytes/)
    expect((await open()).resumeFrom).toBe('5')
  })

  test('who may not read the settings is not told that an event is too large where the checkpoint is', async () => {
    const { open, topics, id, checkpointTopic } = await clerkRoute()
    await permit([...topics, id])
    const writer = await open()
    const admin = kafkaTestClient(nodes.url).admin()
    await admin.connect()
    onTestFinished(() => admin.disconnect())
    const configEntries = [
      { name: 'cleanup.policy', value: 'compact' },
      { name: 'max.message.bytes', value: '100' },
    ]
    const resources = [{ type: ConfigResourceTypes.TOPIC, name: checkpointTopic, configEntries }]
    await admin.alterConfigs({ validateOnly: false, resources })
    expect(codeOf(await errorOf(writer.append(events(1), '1')))).toMatch(/^KAFKA_(MESSAGE|RECORD_LIST)_TOO_LARGE$/)
  })

  test('who may not use the transactional id is told which grant is missing', async () => {
    const { open, topics } = await clerkRoute()
    await permit(topics)
    const error = await errorOf(open())
    expect([codeOf(error), isRetriable(error)]).toEqual(['KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED', false])
    expect(String(error)).toContain('grant Write and Describe on the transactional id')
  })

  test.each(['topic', 'checkpointTopic', 'id'] as const)(
    'that are taken away in mid-way ends with an error, loses nothing and repeats nothing: %s',
    async (which) => {
      const { open, topics, id, topic } = await clerkRoute()
      const [own, checkpoints] = topics as [(typeof topics)[0], (typeof topics)[0]]
      const lost = { topic: own, checkpointTopic: checkpoints, id }[which]
      await permit([own, checkpoints, id].filter((each) => each !== lost))
      const revoke = await permit([lost])
      const writer = await open()
      await writer.append(events(5), '5')
      await revoke()
      const error = await errorOf(writer.append(events(5, { from: 6 }), '10'))
      expect([codeOf(error), isRetriable(error)]).toEqual([
        which === 'id' ? 'KAFKA_TRANSACTIONAL_ID_AUTHORIZATION_FAILED' : 'KAFKA_TOPIC_AUTHORIZATION_FAILED',
        false,
      ])
      expect(errorKind(error)).toBe('auth')
      await permit([lost])
      const again = await open()
      expect(again.resumeFrom).toBe('5')
      await again.append(events(5, { from: 6 }), '10')
      const there = await committedEvents(client('SASL_PLAINTEXT', PASSWORD), topic)
      expect(there.map(({ headers }) => headers[wireNames.sourceId])).toEqual(idsOf(events(10)))
    },
  )
})
