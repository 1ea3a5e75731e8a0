import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { describe, expect, inject, it } from 'vitest'
import { auditTarget } from '../../src/cli/demo/audit.ts'
import type { DemoAudit } from '../../src/cli/demo/perform.ts'

const run = promisify(execFile)

async function demo(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<{ audit: DemoAudit; told: string }> {
  const node = [
    '--conditions=reflex-bridge-source',
    '--disable-warning=ExperimentalWarning',
    'src/cli/main.ts',
    'demo',
    '--json',
    ...args,
  ]
  const { stdout, stderr } = await run(process.execPath, node, { env: { ...process.env, ...env }, timeout: 120_000 })
  return { audit: JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as DemoAudit, told: stderr }
}

function expectClean({ committed, kills, targets }: DemoAudit, orders: number, names: readonly string[]): void {
  expect(committed).toBe(orders * 2)
  expect(kills).toBe(3)
  expect(targets.map(({ name }) => name)).toEqual(names)
  for (const target of targets)
    expect(target).toEqual({
      name: target.name,
      delivered: committed,
      lost: 0,
      duplicated: 0,
      reordered: 0,
      phantom: 0,
    })
}

describe('reflex-bridge demo', () => {
  it('needs no server, kills its bridge three times, and is clean', async () => {
    const { audit, told } = await demo(['--orders', '4000'])
    expectClean(audit, 4000, ['embedded'])
    expect(told).toContain('the bridge killed 3 times')
  }, 150_000)

  it('is clean from MySQL into every broker with --servers', async () => {
    const { kafka, nats, redis, mysql } = inject('servers')
    const env = { KAFKA_BROKERS: kafka.url, NATS_URL: nats.url, REDIS_URL: redis.url, MYSQL_URL: mysql.url }
    const { audit } = await demo(['--orders', '4000', '--servers'], env)
    expectClean(audit, 4000, ['kafka', 'jetstream', 'redis'])
    expect(audit.brokersKilled).toEqual([])
  }, 150_000)

  it('is clean with --kill-brokers, which kills each broker once on the way', async () => {
    const env = { KAFKA_BROKERS: '', NATS_URL: '', REDIS_URL: '', MYSQL_URL: inject('servers').mysql.url }
    const { audit, told } = await demo(['--orders', '4000', '--servers', '--kill-brokers'], env)
    expectClean(audit, 4000, ['kafka', 'jetstream', 'redis'])
    expect(audit.brokersKilled).toEqual(['kafka', 'jetstream', 'redis'])
    expect(told).toContain('each broker once')
  }, 150_000)

  it('refuses to kill a broker that it has not started, and names the variable', async () => {
    const env = { KAFKA_BROKERS: '', NATS_URL: '', REDIS_URL: 'redis://127.0.0.1:1' }
    await expect(demo(['--servers', '--kill-brokers'], env)).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining('REDIS_URL names a running one: unset it'),
    })
    await expect(demo(['--kill-brokers'])).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--kill-brokers needs --servers'),
    })
  })

  it('refuses wrong input with one line and exit code 2', async () => {
    await expect(demo(['--orders', 'many'])).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringContaining('expected a whole number'),
    })
    await expect(demo(['--nonsense'])).rejects.toMatchObject({ code: 2 })
  })
})

describe('the audit', () => {
  const committed = new Set(['1', '2', '3', '4'])
  const audit = (ids: readonly string[], handled: readonly string[] = ids): ReturnType<typeof auditTarget> => {
    async function* entries(): AsyncGenerator<{ sourceId: string; orderId: string }> {
      for (const sourceId of ids) yield { sourceId, orderId: Number(sourceId) % 2 === 0 ? 'even' : 'odd' }
    }
    return auditTarget('t', { committed, entries: entries(), handled: new Set(handled) })
  }

  it.each([
    ['nothing', ['1', '2', '3', '4'], undefined, {}],
    ['another order between entities', ['2', '1', '4', '3'], undefined, {}],
    ['an entry that is missing', ['1', '2', '4'], undefined, { delivered: 3, lost: 1 }],
    ['an event that was never handled', ['1', '2', '3', '4'], ['1', '2', '3'], { delivered: 3, lost: 1 }],
    ['an entry that stands twice', ['1', '2', '2', '3', '4'], undefined, { duplicated: 1 }],
    ['entries of one entity in the wrong order', ['1', '4', '2', '3'], undefined, { reordered: 1 }],
    ['an entry that was rolled back', ['1', '2', '3', '4', '9'], undefined, { phantom: 1 }],
    ['an entry of somebody else', ['1', 'undefined', '2', '3', '4'], undefined, { phantom: 1 }],
  ] as const)('sees %s', async (_, ids, handled, found) => {
    expect(await audit(ids, handled)).toEqual({
      name: 't',
      delivered: 4,
      lost: 0,
      duplicated: 0,
      reordered: 0,
      phantom: 0,
      ...found,
    })
  })
})
