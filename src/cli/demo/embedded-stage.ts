import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openSqlite, sqliteCursors, sqliteEvents, sqliteSink } from '../../adapters/sqlite/index.ts'
import { wireNames } from '../../core/index.ts'
import { openOrderDatabase } from './order-database.ts'
import type { AuditEntry, Stage } from './stage.ts'

/** A stage that needs no server: an SQLite database, and an embedded log in another file. */
export async function embeddedStage(): Promise<Stage> {
  const folder = await mkdtemp(join(tmpdir(), 'reflex-bridge-demo-'))
  const shop = join(folder, 'shop.db')
  const log = join(folder, 'log.db')
  await (await openOrderDatabase(`sqlite:${shop}`))[Symbol.asyncDispose]() // creates the tables
  const shopDatabase = openSqlite(shop)
  const logDatabase = openSqlite(log)
  sqliteSink(logDatabase).createTable()
  const cursors = sqliteCursors(shopDatabase)
  cursors.createTable()

  async function* entries(): AsyncGenerator<AuditEntry> {
    const name = `$."${wireNames.sourceId}"`
    const rows = logDatabase
      .prepare('select headers ->> ? as sourceId, foreign_id as orderId from events order by id')
      .iterate(name)
    for (const row of rows) yield { sourceId: String(row['sourceId']), orderId: String(row['orderId']) }
  }
  async function* committed(): AsyncGenerator<AuditEntry> {
    const rows = shopDatabase
      .prepare('select cast(id as text) as sourceId, foreign_id as orderId from events order by id')
      .iterate()
    for (const row of rows) yield { sourceId: String(row['sourceId']), orderId: String(row['orderId']) }
  }
  return {
    title: 'an SQLite event table, bridged into an embedded log',
    databaseUrl: `sqlite:${shop}`,
    source: { url: `sqlite:${shop}` },
    targets: [{ name: 'embedded', sink: { url: `sqlite:${log}` }, source: sqliteEvents(log).source, entries }],
    cursors,
    committed,
    [Symbol.asyncDispose]: async () => {
      shopDatabase.close()
      logDatabase.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
