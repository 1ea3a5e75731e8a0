import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { checkWritable } from '../../../adapters/mysql/check-writable.ts'
import { type EventColumns, eventColumns } from '../../../adapters/mysql/event-columns.ts'
import {
  mysqlCursors,
  mysqlDeadLetters,
  mysqlEvents,
  mysqlLeases,
  mysqlOptions,
} from '../../../adapters/mysql/index.ts'
import { rewriteLetters } from '../../../adapters/mysql/rewrite-letters.ts'
import { messageOf } from '../../../core/errors.ts'
import { count, text } from '../check-keys.ts'
import { deadLetterKeys } from '../dead-letter-keys.ts'
import { importClient } from '../import-client.ts'
import { notifierFailed } from '../notifier-failed.ts'
import { readAuthority } from '../read-authority.ts'
import { type Location, role, type Scheme } from '../scheme.ts'
import { encodingHint, serverUrl } from '../server-url.ts'
import { tableName } from '../table-name.ts'

const FORM = 'mysql://user@host:3306/database'

const login = {
  password: text.optional(),
  /** Encrypted; `verify-ca` does not look at the name in the server's certificate, only at who signed it. */
  tls: z.enum(['verify-identity', 'verify-ca']).optional(),
  /** A file with the authority that signed it, where that is not a public one. Means `verify-identity` if `tls` is not given. */
  ca: text.optional(),
}

/** The names of the columns of an event table, where they are others than those of luno/reflex. */
const columns = z.record(z.string(), z.string()).transform((given, context): Partial<EventColumns> => {
  try {
    return eventColumns(given)
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) })
    return z.NEVER
  }
})

const checkpointKeys = { table: tableName.default('cursors'), ...login }

/** Event tables and checkpoints in MySQL and MariaDB. */
export const mysql: Scheme = {
  protocols: ['mysql:'],
  hearsNotifier: true,
  form: FORM,
  name: (location) => {
    const { origin, database } = parse(location)
    return `${origin}/${database}`
  },
  roles: {
    source: role(
      {
        table: tableName.default('events'),
        name: text.optional(),
        columns: columns.optional(),
        barrier: z.enum(['read', 'write']).optional(),
        gapTimeoutMs: z.number().positive().optional(),
        gaps: z.enum(['pass', 'fill']).optional(),
        /** Only with `gaps: fill`. */
        fillAfterMs: count(0).optional(),
        ...login,
      },
      async (
        location,
        { table, name, columns, barrier, gapTimeoutMs, gaps, fillAfterMs, ...login },
        { note, notifier },
      ) => {
        const pool = await connect(location, login)
        const events = mysqlEvents(pool, {
          table,
          ...(name === undefined ? {} : { name }),
          ...(columns === undefined ? {} : { columns }),
          ...(barrier === undefined ? {} : { barrier }),
          ...(gapTimeoutMs === undefined ? {} : { gapTimeoutMs }),
          ...(gaps === undefined ? {} : { gaps }),
          ...(fillAfterMs === undefined ? {} : { fillAfterMs }),
          ...(notifier === undefined ? {} : { notifier }),
          onNotifierFailed: (error) => note?.(notifierFailed(error)),
          onProof: ({ proof, reason }) => {
            if (reason !== undefined)
              note?.(`late commits are found by ${proof}, since ${reason}; reflex-bridge check says what mends it`)
          },
          onBlocked: ({ holder, blockedMs }) => note?.(`${Math.round(blockedMs / 1000)} s behind ${holder}`),
        })
        return {
          part: events.source,
          createTables: () => events.createTable(),
          check: async () => {
            const { problems } = await events.check()
            return problems.map(({ severity, found, why, statements }) => ({
              ...{ severity, text: `${found}: ${why}`, statements },
            }))
          },
          purge: events.purge,
          [Symbol.asyncDispose]: () => end(pool),
        }
      },
      ({ gaps, fillAfterMs }, { addIssue }) => {
        if (fillAfterMs === undefined || gaps === 'fill') return
        const message = 'gaps: fill beside it: without that nothing is filled'
        addIssue({ code: 'custom', path: ['fillAfterMs'], input: fillAfterMs, message })
      },
    ),
    checkpoints: role(checkpointKeys, async (location, { table, ...login }) => {
      const pool = await connect(location, login)
      const cursors = mysqlCursors(pool, { table })
      return {
        part: cursors,
        createTables: () => cursors.createTable(),
        check: () => checkWritable(pool, table),
        [Symbol.asyncDispose]: () => end(pool),
      }
    }),
    deadLetters: role(
      { table: tableName.default('dead_letters'), ...deadLetterKeys, ...login },
      async (location, { table, max: _, ...login }) => {
        const pool = await connect(location, login)
        const letters = mysqlDeadLetters(pool, { table })
        return {
          part: letters,
          createTables: () => letters.createTable(),
          rewriter: ({ name, options }) => {
            if (!name.startsWith('mysql:')) return undefined
            const [at, here] = [parse({ ...location, url: name.slice(0, name.lastIndexOf('?')) }), parse(location)]
            if (at.host !== here.host || at.port !== here.port) return undefined
            const { table: events, columns } = options as { table: string; columns?: Partial<EventColumns> }
            const source = { database: at.database, table: events, columns: eventColumns(columns) }
            return rewriteLetters(pool, { letters: { table }, source })
          },
          [Symbol.asyncDispose]: () => end(pool),
        }
      },
    ),
    control: role(checkpointKeys, async (location, { table, ...login }) => {
      const pool = await connect(location, login)
      // Other columns than those of cursors, which would hold a purge back.
      const columns = { id: 'route', cursor: 'control' }
      const controls = mysqlCursors(pool, { table: 'bridge_controls', columns })
      return {
        part: { controls, leases: mysqlLeases(pool, { table: 'bridge_leases' }), prefix: `${table}/` },
        createTables: () => controls.createTable(),
        [Symbol.asyncDispose]: () => end(pool),
      }
    }),
  },
}

function parse({ url }: Location): ReturnType<typeof serverUrl> & { readonly database: string } {
  const server = serverUrl(url, { form: FORM, port: 3306 })
  if (server.path !== '' && !/[/@]/.test(server.path)) return { ...server, database: server.path }
  const found = server.path === '' ? 'none' : `another path (${encodingHint})`
  throw new RangeError(`expected the name of a database at the end of the URL, as in ${FORM}, found ${found}`)
}

type Login = z.output<z.ZodObject<typeof login>>

/** Each stream has a connection of its own, outside of the pool. */
async function connect(location: Location, { password, tls, ca }: Login) {
  const { createPool } = await importClient('mysql2', () => import('mysql2/promise'))
  const server = parse(location)
  const { host, port, user, database } = server
  const secret = password ?? server.password
  const encrypted = tls !== undefined || ca !== undefined
  const authority = ca === undefined ? {} : { ca: await readAuthority(location, ca) }
  return createPool({
    ...mysqlOptions,
    host,
    port,
    database,
    connectionLimit: 2,
    connectTimeout: 3000,
    ...(user === undefined ? {} : { user }),
    ...(secret === undefined ? {} : { password: secret }),
    ...(encrypted ? { ssl: { ...authority, verifyIdentity: tls !== 'verify-ca' } } : {}),
  })
}

/** A frozen server does not answer the end of a connection. */
const GOODBYE_MS = 500

async function end(pool: Awaited<ReturnType<typeof connect>>): Promise<void> {
  const waited = new AbortController()
  await Promise.race([pool.end(), sleep(GOODBYE_MS, undefined, { signal: waited.signal })]).finally(() =>
    waited.abort(),
  )
}
