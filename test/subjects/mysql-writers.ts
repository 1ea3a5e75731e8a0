import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import type { Connection } from 'mysql2/promise'

/** One statement of an application. */
export type Work = 'one' | 'many' | 'slow' | 'select' | 'low' | 'unless there' | 'again' | 'undone'

/** A transaction of an application, and what becomes of it. */
export interface Transaction {
  readonly work: readonly Work[]
  readonly pauseMs: number
  /** `alone` has no transaction; `killed` and `lost` lose their connection, the last two only after COMMIT or XA PREPARE was sent. */
  readonly fate:
    | 'alone'
    | 'commit'
    | 'rollback'
    | 'killed'
    | 'lost'
    | 'lost in commit'
    | 'xa commit'
    | 'xa rollback'
    | 'xa lost'
}

/** One connection of an application. */
export interface Writer {
  readonly isolation: 'read committed' | 'repeatable read'
  readonly transactions: readonly Transaction[]
}

const transactions = fc.record<Transaction>({
  work: fc.array(
    fc.constantFrom<Work>('one', 'many', 'slow', 'slow', 'select', 'low', 'unless there', 'again', 'undone'),
    {
      minLength: 1,
      maxLength: 3,
    },
  ),
  pauseMs: fc.oneof(
    { weight: 6, arbitrary: fc.nat({ max: 12 }) },
    { weight: 1, arbitrary: fc.integer({ min: 40, max: 120 }) },
  ),
  fate: fc.oneof(
    { weight: 4, arbitrary: fc.constant<Transaction['fate']>('alone') },
    { weight: 8, arbitrary: fc.constant<Transaction['fate']>('commit') },
    { weight: 4, arbitrary: fc.constant<Transaction['fate']>('rollback') },
    {
      weight: 3,
      arbitrary: fc.constantFrom<Transaction['fate']>(
        'killed',
        'lost',
        'lost in commit',
        'xa commit',
        'xa rollback',
        'xa lost',
      ),
    },
  ),
})

/** One to 16 connections, each with one to six transactions. */
export const writers: fc.Arbitrary<readonly Writer[]> = fc.array(
  fc.record<Writer>({
    isolation: fc.constantFrom('read committed', 'repeatable read'),
    transactions: fc.array(transactions, { minLength: 1, maxLength: 6, size: 'max' }),
  }),
  { minLength: 1, maxLength: 16, size: 'max' },
)

/** Where writers write: a table with a column `once` that a unique index may be on, and a way to lose a connection. */
export interface WrittenTable {
  readonly table: string
  /** The step between ids, and the first of them. */
  readonly step: number
  readonly offset: number
  connect(): Promise<Connection>
  kill(connection: Connection): Promise<void>
}

/**
 * Plays the transactions of one connection, which is number `number` of its table, and returns the connection that there is
 * in the end. Writers never wait for one another: each has its own keys in the unique index, with a sentinel before them.
 * Rejects with the first error of a statement whose connection it has not lost itself.
 */
export async function playWriter(
  at: WrittenTable,
  number: number,
  { isolation, transactions: all }: Writer,
  first: Connection,
): Promise<Connection> {
  const name = `w${String(number).padStart(2, '0')}`
  const into = `${at.table} (foreign_id, timestamp, type, once)`
  let connection = first
  let rows = 0
  let keys = 0
  const row = (once?: string, foreignId = `'${name} ${++rows}'`): string =>
    `(${foreignId}, utc_timestamp(6), 1, ${once === undefined ? 'null' : `'${once}'`})`
  const key = (ago = 0): string => `${name} ${String(Math.max(1, keys - ago)).padStart(4, '0')}`
  const statements: Record<Work, () => readonly string[]> = {
    one: () => [`insert into ${into} values ${row()}`],
    many: () => [`insert into ${into} values ${row()}, ${row()}, ${row()}, ${row()}`],
    slow: () => [
      `insert into ${into} values ${row()}, ${row(undefined, `concat('${name} ${++rows}', left(sleep(0.03), 0))`)}, ${row()}`,
    ],
    select: () => [
      `insert into ${into} select concat('${name} ${++rows} ', n), utc_timestamp(6), 2, null from (select 1 n union all select 2 union all select 3 union all select 4 union all select 5) five`,
    ],
    low: () => [`insert low_priority into ${into} values ${row()}, ${row()}`],
    'unless there': () => {
      keys++
      return [`insert into ${into} values ${row(key())} on duplicate key update once = values(once)`]
    },
    again: () => [
      `insert into ${into} values ${row(key())}, ${row()}, ${row(key(1))} on duplicate key update once = once`,
    ],
    undone: () => [
      `insert into ${into} values ${row()}`,
      'savepoint a',
      `insert into ${into} values ${row()}, ${row()}`,
      'rollback to savepoint a',
    ],
  }
  const prepare = async (): Promise<void> => {
    await connection.query(
      `set auto_increment_increment = ${at.step}, auto_increment_offset = ${at.offset}, autocommit = 1`,
    )
  }
  const lose = async (): Promise<void> => {
    connection.destroy()
    connection = await at.connect()
    keys = Math.max(1, keys) + 2 // the server may not have noticed yet: until then those that were written are locked
    await prepare()
  }

  await prepare()
  for (const [index, { work, pauseMs, fate }] of all.entries()) {
    const xid = `'${at.table} ${name} ${index}'`
    const xa = fate.startsWith('xa')
    const write = async (): Promise<void> => {
      for (const each of work)
        for (const sql of statements[each]()) {
          if (fate === 'alone' && sql.includes('savepoint')) continue
          await connection.query(sql)
        }
    }
    // Where a part of a transaction is undone under REPEATABLE READ, InnoDB locks the gap: writers would wait for each other.
    const undoes = work.some((each) => each === 'undone' || each === 'unless there' || each === 'again')
    await connection.query(`set session transaction isolation level ${undoes ? 'read committed' : isolation}`)
    if (fate !== 'alone') await connection.query(xa ? `xa start ${xid}` : 'start transaction')
    await write()
    if (xa) for (const step of ['end', 'prepare']) await connection.query(`xa ${step} ${xid}`)
    await sleep(pauseMs)
    switch (fate) {
      case 'commit':
      case 'rollback':
        await connection.query(fate)
        break
      case 'xa commit':
      case 'xa rollback':
        await connection.query(`${fate} ${xid}`)
        break
      case 'killed':
        await at.kill(connection)
        await lose()
        break
      case 'lost':
        await lose()
        break
      case 'lost in commit':
        connection.query('commit').catch(() => {}) // it is not known what became of it
        await lose()
        break
      case 'xa lost':
        await lose()
        await finishPrepared(connection, xid)
        break
    }
  }
  return connection
}

/** Commits what another connection has prepared, as soon as the server has noticed that it is gone. */
async function finishPrepared(connection: Connection, xid: string): Promise<void> {
  const UNKNOWN = 1397
  for (const deadline = Date.now() + 10_000; ; await sleep(2)) {
    try {
      return void (await connection.query(`xa commit ${xid}`))
    } catch (error) {
      if ((error as { errno?: number }).errno !== UNKNOWN || Date.now() > deadline) throw error
    }
  }
}
