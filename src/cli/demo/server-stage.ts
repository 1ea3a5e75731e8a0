import { mysqlCursors, mysqlOptions } from '../../adapters/mysql/index.ts'
import { disposeStack, OptionError } from '../../core/index.ts'
import { importClient } from '../../service/config/import-client.ts'
import { startServers } from '../../testing/servers/index.ts'
import { brokers } from './brokers.ts'
import { openOrderDatabase } from './order-database.ts'
import type { AuditEntry, Stage, Target } from './stage.ts'

const PAGE = 5000

/**
 * A stage of real servers: MySQL, and every broker that there is an adapter for. Servers that no URL is given for are started,
 * and ended with the stage. With `killBrokers`, throws an `OptionError` if a broker is given by a URL.
 */
export async function serverStage({
  killBrokers,
  log,
  signal,
}: {
  killBrokers: boolean
  log: (line: string) => void
  signal: AbortSignal
}): Promise<Stage> {
  if (killBrokers) refuseGivenBrokers()
  const stack = disposeStack()
  try {
    const servers = await startServers(['mysql', ...brokers.map(({ server }) => server)], { log, signal })
    stack.use(servers)
    const { mysql } = servers
    const { createPool } = await importClient('mysql2', () => import('mysql2/promise'))
    const run = `reflex_demo_${Date.now().toString(36)}`

    const admin = createPool({ ...mysqlOptions, uri: mysql.url, connectionLimit: 1 })
    await admin.query(`create database \`${run}\``)
    stack.defer(async () => {
      await admin.query(`drop database \`${run}\``)
      await admin.end()
    })
    const databaseUrl = new URL(mysql.url)
    databaseUrl.pathname = `/${run}`
    const pool = createPool({ ...mysqlOptions, uri: databaseUrl.href, connectionLimit: 4 })
    stack.defer(() => pool.end())
    await (await openOrderDatabase(databaseUrl.href))[Symbol.asyncDispose]() // creates the tables
    const cursors = mysqlCursors(pool)
    await cursors.createTable()

    async function* committed(): AsyncGenerator<AuditEntry> {
      for (let after = '0'; ; ) {
        const [rows] = await pool.query(
          'select id as sourceId, foreign_id as orderId from events where id > ? order by id limit ?',
          [after, PAGE],
        )
        const page = rows as { sourceId: string | number; orderId: string }[]
        for (const { sourceId, orderId } of page) yield { sourceId: String(sourceId), orderId }
        if (page.length < PAGE) return
        after = String(page.at(-1)?.sourceId)
      }
    }
    const targets = await Promise.all(
      brokers.map(async ({ name, server, open }): Promise<Target> => {
        const log = await open(servers[server], { run, stack })
        return { name, ...log, process: servers[server].process }
      }),
    )
    const titles = brokers.map(({ title, server }) => `${title} ${servers[server].version}`)
    return {
      title: `MySQL ${mysql.version}, bridged into ${new Intl.ListFormat('en').format(titles)}`,
      databaseUrl: databaseUrl.href,
      source: { url: databaseUrl.href },
      targets,
      cursors,
      committed,
      [Symbol.asyncDispose]: () => stack[Symbol.asyncDispose](),
    }
  } catch (error) {
    await stack[Symbol.asyncDispose]()
    throw error
  }
}

function refuseGivenBrokers(): void {
  const given = brokers.map(({ variable }) => variable).filter((variable) => process.env[variable])
  if (given.length === 0) return
  throw new OptionError(
    `--kill-brokers kills only brokers that the demo has started, but ${given.join(' and ')} ${given.length === 1 ? 'names a running one' : 'name running ones'}: unset ${given.length === 1 ? 'it' : 'them'}, or leave --kill-brokers out`,
  )
}
