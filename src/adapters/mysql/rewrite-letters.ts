import { untilAborted } from '../../core/abort.ts'
import { copyOf, letterInUse, lettersToRewrite, type RewriteLetters } from '../../sql/rewrite-letters.ts'
import { parseTableCursor } from '../../sql/table-stream.ts'
import { answerInTime } from './answer-in-time.ts'
import { type DeadLetterColumns, deadLetterColumns, deadLettersTable } from './dead-letters-table.ts'
import type { EventColumns } from './event-columns.ts'
import { insertEvents } from './insert-events.ts'
import { checkConnection, checkPool, type MysqlPool, runQuery } from './mysql-pool.ts'
import { beginTransaction } from './mysql-transaction.ts'
import { type PooledQuery, pooledQuery } from './pooled-query.ts'
import { tableLayout } from './table-layout.ts'

/** Where letters are, and where their events are written to: on the server of one pool. */
export interface MysqlRewriteTables {
  /** In the database of the pool. */
  readonly letters: { readonly table: string; readonly columns?: Partial<DeadLetterColumns> }
  readonly source: { readonly database: string; readonly table: string; readonly columns: EventColumns }
}

/** So many letters, each with its payload, are inserted at a time. */
const PART = 25

/**
 * What writes the events of dead letters in a pool's database to an event table on the same server anew. The pool's account needs SELECT
 * and INSERT on that table, and the pool two connections.
 */
export function rewriteLetters(pool: MysqlPool, { letters, source }: MysqlRewriteTables): RewriteLetters {
  const { database } = checkPool(pool)
  const rows = deadLettersTable(
    `mysql:${database}.${letters.table}`,
    database,
    letters.table,
    deadLetterColumns(letters.columns),
  )
  const name = `mysql:${source.database}.${source.table}`
  const into = `\`${source.database.replaceAll('`', '``')}\`.\`${source.table}\``
  const insert = insertEvents(name, into, source.columns)
  const query = pooledQuery(name, pool)

  /**
   * The first event of the foreignId between the cursor and the last of the copies, also of transactions that are open: it is sent before
   * a copy, and would become a letter, which holds them back, for a bridge that does not know yet that there are none.
   */
  const inBetween = (foreignId: string, after: bigint, copies: readonly string[]): Promise<string | undefined> =>
    query(async (run) => {
      const { id, type } = source.columns
      const key = `cast(convert(\`${source.columns.foreignId}\` using utf8mb4) as binary) = ?`
      const isEvent = foreignId === '0' ? ` and \`${type}\` <> 0` : '' // no id that was filled
      await run('set transaction isolation level read uncommitted', [])
      try {
        const [row] = (await run(
          `select \`${id}\` from ${into} where \`${id}\` > ${after} and \`${id}\` < ${copies.at(-1)}
            and \`${id}\` not in (${copies.join(', ')}) and ${key}${isEvent} order by \`${id}\` limit 1`,
          [Buffer.from(foreignId)],
        )) as readonly [number | string][]
        return row && String(row[0])
      } finally {
        await run('commit', []) // where connections are not in autocommit mode
      }
    })

  return async (options) => {
    const { consumer, foreignId, passed } = options
    const { headers } = await query((run) => tableLayout(run, into, source.columns))
    const transaction = await beginTransaction(name, pool, undefined)
    try {
      const connection = checkConnection(transaction.connection)
      // A statement of the insert that fails is dealt with there: it is not to end the transaction.
      const run: PooledQuery = (sql, values) =>
        answerInTime(name, (ended) => untilAborted(runQuery(connection, sql, values), ended), undefined)
      const known = await rows.openOf(transaction.run, consumer, foreignId)
      const held = await rows.hold(
        transaction.run,
        known.map(({ id }) => id),
      )
      const open = lettersToRewrite(
        name,
        known.filter(({ id }) => held.has(id)),
        options,
      )
      if (open.length === 0) return []
      const newIds: string[] = []
      for (let from = 0; from < open.length; from += PART) {
        const part = open.slice(from, from + PART).map(({ id }) => id)
        const events = await rows.eventsOf(transaction.run, part)
        const copies = events.map((event) => copyOf(event, headers))
        newIds.push(...(await insert(run, copies)))
      }
      const before = await inBetween(foreignId, parseTableCursor(name, passed), newIds)
      if (before !== undefined) throw letterInUse(options, before)
      await transaction.commit((run) =>
        rows.resolveAll(
          run,
          open.map(({ id }) => id),
        ),
      )
      return open.map(({ eventId }, i) => ({ eventId, newId: newIds[i] as string }))
    } finally {
      await transaction.end()
    }
  }
}
