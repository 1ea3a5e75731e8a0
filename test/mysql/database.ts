import { randomBytes } from 'node:crypto'
import { inject } from 'vitest'
import { type Clock, systemClock } from '../../src/core/clock.ts'
import type { Address } from '../../src/testing/servers/index.ts'
import { type MysqlDatabase, newMysqlDatabase } from '../subjects/mysql-database.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'

/** Time runs ten times as fast for who is in the way: it is told of after 100 ms instead of 1 s. Pauses are as they are. */
export const hastyClock: Clock = { ...systemClock, now: () => Date.now() * 10 }

/** A database of its own on a real server. */
export interface Database extends MysqlDatabase {
  readonly mariadb: boolean
  /** A new account without any privilege, as `'user'@'%'`; goes with the database. */
  account(): Promise<{ readonly user: string; readonly quoted: string }>
}

/** Makes an empty database; by default on the shared server. */
export async function newDatabase(server: Address = inject('servers').mysql): Promise<Database> {
  const database = await newMysqlDatabase(server)
  const { sql, onEnd } = database
  const [[version]] = (await sql('select version()')) as [[string]]
  return {
    ...database,
    mariadb: /mariadb/i.test(version),
    account: async () => {
      const user = `user_${randomBytes(4).toString('hex')}`
      const quoted = `'${user}'@'%'`
      await sql(`create user ${quoted}`)
      onEnd(() => sql(`drop user ${quoted}`))
      return { user, quoted }
    },
  }
}

/** An empty database that ends with the test. */
export async function testDatabase(server?: Address): Promise<Database> {
  const database = await newDatabase(server)
  onTestFinished(() => database[Symbol.asyncDispose]())
  return database
}
