import { expect } from 'vitest'
import type { Leases } from '../../src/core/lease.ts'

const TTL_MS = 60_000

/** What every store of leases promises; `open` opens the same store as another process would, `remove` deletes the row of a lease. */
export async function checkLeases(open: () => Leases, remove: (lease: string) => unknown): Promise<void> {
  const [mine, theirs] = [open(), open()]
  const a = { holder: 'a', ttlMs: TTL_MS }
  const b = { holder: 'b', ttlMs: TTL_MS }
  const tokenOf = async (grant: Promise<{ readonly token: bigint } | undefined>): Promise<bigint> =>
    (await grant)?.token as bigint

  // One has it, and only that one.
  expect(await mine.get('orders')).toBeUndefined()
  const first = await tokenOf(mine.acquire('orders', a))
  expect(typeof first).toBe('bigint')
  expect(await theirs.acquire('orders', b)).toBeUndefined()
  const found = await theirs.get('orders')
  expect(found?.holder).toBe('a')
  expect(found?.expiresInMs).toBeGreaterThan(TTL_MS / 2)
  expect(found?.expiresInMs).toBeLessThanOrEqual(TTL_MS)
  expect(await theirs.acquire('Orders', b), 'a name that differs by case').toBeDefined()
  expect(await theirs.acquire('orders ', b), 'a name that differs by a space').toBeDefined()

  // Renewed by its token alone.
  expect(await mine.renew('orders', { token: first, ttlMs: TTL_MS * 2 })).toBe(true)
  expect((await theirs.get('orders'))?.expiresInMs).toBeGreaterThan(TTL_MS)
  expect(await theirs.renew('orders', { token: first + 1n, ttlMs: TTL_MS })).toBe(false)
  expect(await theirs.renew('other', { token: first, ttlMs: TTL_MS })).toBe(false)
  await theirs.release('orders', { token: first + 1n })
  expect((await theirs.get('orders'))?.holder).toBe('a')

  // Its holder takes it anew, as after an answer that was lost: the token before is void.
  const second = await tokenOf(mine.acquire('orders', a))
  expect(second).toBeGreaterThan(first)
  expect(await mine.renew('orders', { token: first, ttlMs: TTL_MS })).toBe(false)

  // Free at once when it is released, and the token grows on.
  await mine.release('orders', { token: second })
  await mine.release('orders', { token: second })
  expect(await mine.get('orders')).toBeUndefined()
  expect(await mine.renew('orders', { token: second, ttlMs: TTL_MS })).toBe(false)
  const third = await tokenOf(theirs.acquire('orders', { holder: 'b', ttlMs: 300 }))
  expect(third).toBeGreaterThan(second)

  // Free when it has expired, and not before; who had it finds out.
  const acquiredAt = performance.now()
  let fourth: bigint | undefined
  while (fourth === undefined) fourth = (await mine.acquire('orders', a))?.token
  expect(performance.now() - acquiredAt).toBeGreaterThan(200)
  expect(fourth).toBeGreaterThan(third)
  expect(await theirs.renew('orders', { token: third, ttlMs: TTL_MS })).toBe(false)
  await theirs.release('orders', { token: third })
  expect((await theirs.get('orders'))?.holder).toBe('a')

  // A row that somebody deletes takes the lease from who has it, and the token grows on: the lease of another is not taken for its own.
  const before = await tokenOf(mine.acquire('deleted', a))
  await remove('deleted')
  expect(await mine.renew('deleted', { token: before, ttlMs: TTL_MS })).toBe(false)
  const after = await tokenOf(theirs.acquire('deleted', b))
  expect(after).toBeGreaterThan(before)
  expect(await mine.renew('deleted', { token: before, ttlMs: TTL_MS })).toBe(false)
  await mine.release('deleted', { token: before })
  expect((await mine.get('deleted'))?.holder).toBe('b')

  // Of many at once, one.
  const stores = Array.from({ length: 4 }, open)
  for (let round = 0; round < 10; round++) {
    const grants = await Promise.all(
      stores.map((store, i) => store.acquire(`lease ${round}`, { holder: `h${i}`, ttlMs: TTL_MS })),
    )
    expect(grants.filter((grant) => grant !== undefined)).toHaveLength(1)
  }
}
