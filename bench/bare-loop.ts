import { createPool, type Pool } from 'mysql2/promise'
import { mysqlOptions } from 'reflex-bridge/mysql'
import type { Row } from './destination.ts'
import { destinations } from './destinations.ts'

const PAGE = 1000

/** Everything in the event table, page by page, read with the bare client; a late commit would be lost. */
export async function* barePages(pool: Pool): AsyncGenerator<readonly Row[]> {
  for (let after = '0'; ; ) {
    const [rows] = await pool.query(
      'select id, foreign_id, type, timestamp, metadata from events where id > ? order by id limit ?',
      [after, PAGE],
    )
    const page = rows as Row[]
    if (page.length > 0) yield page
    if (page.length < PAGE) return
    after = String(page.at(-1)?.id)
  }
}

/** What the bridge does, with bare clients, as a whole program: forwards the table into the log, and ends. */
export async function bareLoop({
  server,
  databaseUrl,
  url,
  log,
}: {
  readonly server: string
  readonly databaseUrl: string
  readonly url: string
  readonly log: string
}): Promise<void> {
  const pool = createPool({ ...mysqlOptions, uri: databaseUrl })
  const found = destinations.find((destination) => destination.server === server)
  if (found === undefined) throw new Error(`expected one of the servers in destinations.ts, but found ${server}`)
  await using destination = await found.open(url)
  const publish = await destination.publisher(log)
  for await (const page of barePages(pool)) await publish(page)
  await pool.end()
}
