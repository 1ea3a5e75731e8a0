import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import {
  openSqlite,
  sqliteCursors,
  sqliteDeadLetters,
  sqliteEvents,
  sqliteLeases,
  sqliteSink,
} from '../../../adapters/sqlite/index.ts'
import { rewriteLetters } from '../../../adapters/sqlite/rewrite-letters.ts'
import { ReflexError } from '../../../core/errors.ts'
import { CREATE } from '../../describe-error.ts'
import { count, text } from '../check-keys.ts'
import { deadLetterKeys } from '../dead-letter-keys.ts'
import { notifierFailed } from '../notifier-failed.ts'
import { type Location, type OpenContext, role, type Scheme } from '../scheme.ts'
import { tableName } from '../table-name.ts'

const checkpointKeys = { table: tableName.default('cursors') }

/** Event tables, logs and checkpoints in a SQLite file. */
export const sqlite: Scheme = {
  protocols: ['sqlite:'],
  hearsNotifier: true,
  form: 'sqlite:PATH',
  name: (location) => `sqlite:${pathOf(location)}`,
  roles: {
    source: role({ table: tableName.default('events'), name: text.optional() }, async (location, options, context) => {
      const { table, name } = options
      const { note, notifier } = context
      const { source, createTable, purge } = sqliteEvents(existing(location, context), {
        table,
        ...(name === undefined ? {} : { name }),
        ...(notifier === undefined ? {} : { notifier }),
        onNotifierFailed: (error) => note?.(notifierFailed(error)),
      })
      return {
        part: source,
        createTables: async () => createTable(),
        purge,
        [Symbol.asyncDispose]: async () => {},
      }
    }),
    sink: role(
      { table: tableName.default('events'), maxRefill: count(0).optional() },
      async (location, { table, maxRefill }, context) => {
        const path = existing(location, context, { retriable: true }) // as every destination that is not there
        const database = openSqlite(path, { readOnly: context.readOnly })
        const sink = sqliteSink(database, { table, maxRefill })
        return {
          part: sink,
          createTables: async () => sink.createTable(),
          check: async () => {
            await sqliteEvents(database, { table }).source.head?.()
            return []
          },
          readBack: async () => [sqliteEvents(database, { table }).source],
          [Symbol.asyncDispose]: async () => close(database),
        }
      },
    ),
    checkpoints: role(checkpointKeys, async (location, { table }, context) => {
      const database = openSqlite(existing(location, context), { readOnly: context.readOnly })
      const cursors = sqliteCursors(database, { table })
      return {
        part: cursors,
        createTables: async () => cursors.createTable(),
        [Symbol.asyncDispose]: async () => close(database),
      }
    }),
    deadLetters: role(
      { table: tableName.default('dead_letters'), ...deadLetterKeys },
      async (location, { table }, context) => {
        const database = openSqlite(existing(location, context), { readOnly: context.readOnly })
        const letters = sqliteDeadLetters(database, { table })
        return {
          part: letters,
          createTables: async () => letters.createTable(),
          rewriter: ({ name, options }) => {
            if (name.slice(0, name.lastIndexOf('?')) !== `sqlite:${pathOf(location)}`) return undefined
            return rewriteLetters(database, { letters: table, source: String(options['table']) })
          },
          [Symbol.asyncDispose]: async () => close(database),
        }
      },
    ),
    control: role(checkpointKeys, async (location, { table }, context) => {
      const database = openSqlite(existing(location, context), { readOnly: context.readOnly })
      const controls = sqliteCursors(database, { table: 'bridge_controls' })
      return {
        part: { controls, leases: sqliteLeases(database, { table: 'bridge_leases' }), prefix: `${table}/` },
        createTables: async () => controls.createTable(),
        [Symbol.asyncDispose]: async () => close(database),
      }
    }),
  },
}

function pathOf({ url, folder }: Location): string {
  const path = url.slice('sqlite:'.length)
  if (path === '' || path.startsWith(':') || /^\/\/(?!\/)/.test(path)) {
    throw new RangeError(
      `expected sqlite: and the path of a file, like sqlite:shop.db or sqlite:/var/lib/shop.db, found ${url}`,
    )
  }
  return resolve(folder, path)
}

/** The path of a file that is there, unless it will be created. */
function existing(
  location: Location,
  { createTables }: OpenContext,
  { retriable = false }: { readonly retriable?: boolean } = {},
): string {
  const path = pathOf(location)
  if (createTables || existsSync(path)) return path
  throw new ReflexError('FILE_MISSING', `there is no file ${path}: ${CREATE}`, { retriable })
}

function close(database: DatabaseSync): void {
  if (database.isOpen) database.close()
}
