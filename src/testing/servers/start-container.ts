import { setTimeout } from 'node:timers/promises'
import { containerProcess } from './container-process.ts'
import { freePort } from './free-port.ts'
import type { Address, Server } from './server.ts'
import type { ContainerSpec, ServerContext, ServerDefinition } from './server-definition.ts'

type Testcontainers = typeof import('testcontainers')
type Client = Awaited<ReturnType<Testcontainers['getContainerRuntimeClient']>>
type Container = Awaited<ReturnType<Client['container']['create']>>

/**
 * Runs the server in a container that ends with this process (testcontainers' reaper sees to it), its port bound to 127.0.0.1.
 * Where that cannot be, `fail` is told why and the result is undefined.
 */
export async function startContainer(
  definition: ServerDefinition,
  context: ServerContext,
  fail: (reason: string) => void,
): Promise<Server | undefined> {
  let testcontainers: Testcontainers
  let client: Client
  try {
    testcontainers = await import('testcontainers')
    client = await testcontainers.getContainerRuntimeClient()
  } catch (error) {
    fail(messageOf(error))
    return undefined
  }
  const spec = definition.container(context)
  let container: Container | undefined
  try {
    context.log(`starting ${spec.image} in a container`)
    await client.image.pull(testcontainers.ImageName.fromString(spec.image), { force: false, platform: undefined })
    const host = client.info.containerRuntime.host
    const local = host === 'localhost' || host === '127.0.0.1'
    const address = { host: local ? '127.0.0.1' : host, port: await freePort() }
    const { sessionId } = await testcontainers.getReaper(client)
    const labels = { [testcontainers.LABEL_TESTCONTAINERS_SESSION_ID]: sessionId, 'org.testcontainers': 'true' }
    container = await client.container.create(description(spec, address, local ? '127.0.0.1' : '', labels))
    const started = container
    await client.container.start(started)
    const ready = () => untilReady(definition, address, context, () => isRunning(client, started))
    const probed = await ready()
    return {
      ...address,
      name: definition.name,
      version: probed ?? spec.image.split(':').at(-1) ?? 'unknown',
      url: definition.url(address),
      origin: 'docker',
      process: await containerProcess(definition.name, started, ready),
      cli: () => undefined,
      [Symbol.asyncDispose]: () => remove(started),
    }
  } catch (error) {
    if (container !== undefined) await remove(container)
    context.signal.throwIfAborted()
    context.log(`${spec.image} could not be used: ${messageOf(error)}`)
    fail(`${spec.image}: ${messageOf(error)}`)
    return undefined
  }
}

function description(spec: ContainerSpec, address: Address, hostIp: string, labels: Record<string, string>) {
  const inside = `${spec.port}/tcp`
  return {
    Image: spec.image,
    ...(spec.command === undefined ? {} : { Cmd: [...spec.command] }),
    Env: [...spec.environment(address)],
    Labels: labels,
    ExposedPorts: { [inside]: {} },
    HostConfig: { PortBindings: { [inside]: [{ HostIp: hostIp, HostPort: `${address.port}` }] } },
  }
}

async function untilReady(
  definition: ServerDefinition,
  address: Address,
  context: ServerContext,
  running: () => Promise<boolean>,
) {
  const deadline = Date.now() + context.readyTimeoutMs
  for (;;) {
    context.signal.throwIfAborted()
    try {
      return await definition.probe(address, context.signal)
    } catch (error) {
      if (!(await running())) throw new Error('the container ended before the server answered', { cause: error })
      if (Date.now() > deadline)
        throw new Error(`did not answer within ${context.readyTimeoutMs} ms: ${messageOf(error)}`, { cause: error })
    }
    await setTimeout(100)
  }
}

async function isRunning(client: Client, container: Container): Promise<boolean> {
  return (await client.container.inspect(container)).State.Running
}

async function remove(container: Container): Promise<void> {
  await container.remove({ force: true, v: true })
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
