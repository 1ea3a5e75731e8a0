import { describe, expect, inject, it, onTestFinished } from 'vitest'
import { mysqlLeases } from '../../src/adapters/mysql/index.ts'
import { holdLease } from '../../src/core/hold-lease.ts'
import { tcpProxy } from '../../src/testing/servers/index.ts'
import { newMysqlDatabase } from '../subjects/mysql-database.ts'
import { checkLeases } from '../tools/lease-contract.ts'
import { testDatabase } from './database.ts'

describe('mysqlLeases', () => {
  it('grants a lease to one at a time, by its own clock, under tokens that only grow', async () => {
    const { pool, poolOf, sql } = await testDatabase()
    await mysqlLeases(pool).createTable()
    await mysqlLeases(pool).createTable()
    // As the pools of another process: one whose session has another idea of time, and one that counts rows differently.
    const pools = [pool, poolOf({ timezone: 'Z' }), poolOf({ flags: ['-FOUND_ROWS'] })]
    let opened = 0
    await checkLeases(
      () => mysqlLeases(pools[opened++ % pools.length] as typeof pool),
      (lease) => sql(`delete from leases where name = '${lease}'`),
    )
  })

  it('keeps the token when nobody has the lease, and names what it cannot do', async () => {
    const { pool, poolOf, sql } = await testDatabase()
    const leases = mysqlLeases(pool, { table: 'turns' })
    await expect(leases.get('orders')).rejects.toMatchObject({ code: 'TABLE_MISSING' })
    await leases.createTable()
    await leases.acquire('orders', { holder: 'a', ttlMs: 1000 })
    await sql(`update turns set token = 9007199254740992, holder = ''`)
    const grant = await leases.acquire('orders', { holder: 'b', ttlMs: 60_000 })
    expect(grant).toEqual({ token: 9007199254740993n })
    expect(await leases.renew('orders', { token: 9007199254740993n, ttlMs: 60_000 })).toBe(true)
    await expect(leases.acquire('x'.repeat(256), { holder: 'b', ttlMs: 1 })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    })
    await expect(leases.acquire('x', { holder: 'b', ttlMs: 0.5 })).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    const manual = poolOf({})
    manual.on('connection', (connection) => void connection.query('set autocommit = 0'))
    await expect(mysqlLeases(manual, { table: 'turns' }).get('orders')).rejects.toThrow(/autocommit/)
  })

  it('loses a lease as soon as its connection is lost, and nobody writes after another has it', async () => {
    await using proxy = await tcpProxy(inject('servers').mysql)
    const database = await newMysqlDatabase(inject('servers').mysql, proxy)
    onTestFinished(() => database[Symbol.asyncDispose]())
    const through = mysqlLeases(database.pool)
    await through.createTable()
    const log: string[] = []
    const { host, port } = inject('servers').mysql
    const other = database.poolOf({ host, port })
    const started = Promise.withResolvers<void>()
    const first = holdLease(
      { leases: through, name: 'orders', holder: 'a', ttlMs: 1500 },
      async ({ signal, check }) => {
        started.resolve()
        while (!signal.aborted) {
          check()
          log.push('a')
          await new Promise((resolve) => setTimeout(resolve, 5))
        }
        throw signal.reason
      },
    )
    first.catch(() => {})
    await started.promise
    const spec = { leases: mysqlLeases(other), name: 'orders', holder: 'b', ttlMs: 1500 }
    const second = holdLease(spec, async ({ check }) => {
      for (let i = 0; i < 20; i++) {
        check()
        log.push('b')
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    })
    proxy.stall()
    await second
    await expect(first).rejects.toMatchObject({ code: 'LEASE_LOST' })
    proxy.restore()
    expect(log.join('')).toMatch(/^a+b{20}$/)
  })
})
