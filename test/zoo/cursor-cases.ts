import { setImmediate as turn } from 'node:timers/promises'
import { CursorConflictError, type CursorStore, memoryCursors } from '../../src/core/index.ts'
import type { CursorStoreSubject } from '../../src/testing/cursors/cursor-store-subject.ts'

/** A store of cursors that is right, or wrong in one way. */
export interface CursorCase {
  readonly name: string
  readonly of: 'cursors'
  create(): CursorStoreSubject
  /** Where it was seen in the world. */
  readonly cites?: string
}

interface Row {
  readonly cursor: string
  readonly reset: boolean
}

/** What a server of cursors does; a broken one does one thing otherwise. */
interface Ways {
  /** The cursor of a consumer that is not known. */
  readonly unknown: string
  key(consumer: string): string
  stored(cursor: string): string
  /** Whether the server compares and sets in one request. */
  readonly atomic: boolean
  conflicts(there: Row, cursor: string, expected: string): boolean
  told(there: Row): Partial<Row>
  afterSet(there: Row): boolean
  afterReset(there: Row): boolean
  readonly heeds: 'signal' | 'no signal'
  listed(row: Row): boolean
  readonly cache: boolean
  readonly durable: boolean
  readonly reconnects: boolean
  readonly timesOut: boolean
}

const right: Ways = {
  unknown: '',
  key: (consumer) => consumer,
  stored: (cursor) => cursor,
  atomic: true,
  conflicts: (there, cursor, expected) => there.cursor !== expected && there.cursor !== cursor,
  told: (there) => there,
  afterSet: () => false,
  afterReset: () => true,
  heeds: 'signal',
  listed: () => true,
  cache: false,
  durable: true,
  reconnects: true,
  timesOut: true,
}

function subject(different: Partial<Ways> = {}): CursorStoreSubject {
  const ways = { ...right, ...different }
  const rows = new Map<string, { readonly name: string; readonly row: Row }>()
  let connection = 0
  let frozen: Promise<void> | undefined
  const thereOf = (consumer: string): Row => rows.get(ways.key(consumer))?.row ?? { cursor: ways.unknown, reset: false }
  const write = (consumer: string, row: Row): void => {
    rows.set(ways.key(consumer), { name: consumer, row: { ...row, cursor: ways.stored(row.cursor) } })
  }
  const client = (): CursorStore => {
    let connected = connection
    const seen = new Map<string, string>()
    async function ask<T>(request: () => T): Promise<T> {
      if (frozen !== undefined) {
        if (!ways.timesOut) await frozen
        await turn()
        throw new Error('the server has not answered')
      }
      if (connected !== connection) {
        if (ways.reconnects) connected = connection
        throw new Error('the connection was lost')
      }
      await Promise.resolve()
      return request()
    }
    return {
      get: async (consumer, { signal } = {}) => {
        if (ways.heeds === 'signal') signal?.throwIfAborted()
        const cached = seen.get(consumer)
        if (ways.cache && cached !== undefined) return cached
        const { cursor } = await ask(() => thereOf(consumer))
        seen.set(consumer, cursor)
        return cursor
      },
      set: async (consumer, cursor, expected) => {
        const compare = (there: Row): void => {
          if (ways.conflicts(there, cursor, expected))
            throw new CursorConflictError({
              consumer,
              expected,
              actual: there.cursor,
              reset: there.reset,
              ...toldOf(there),
            })
        }
        const toldOf = (there: Row): { actual?: string; reset?: boolean } => {
          const { cursor: actual, reset } = ways.told(there)
          return { actual: actual as string, reset: reset as boolean }
        }
        const store = (): void => write(consumer, { cursor, reset: ways.afterSet(thereOf(consumer)) })
        if (ways.atomic) {
          await ask(() => {
            compare(thereOf(consumer))
            store()
          })
        } else {
          compare(await ask(() => thereOf(consumer)))
          await ask(store)
        }
        seen.set(consumer, cursor)
      },
      reset: (consumer, cursor) => ask(() => write(consumer, { cursor, reset: ways.afterReset(thereOf(consumer)) })),
      list: () =>
        ask(() => {
          const listed = [...rows.values()].filter(({ row }) => ways.listed(row))
          return new Map(listed.map(({ name, row }) => [name, row.cursor]))
        }),
    }
  }
  return {
    cursors: client(),
    another: client,
    restart: async () => {
      connection++
      if (!ways.durable) rows.clear()
    },
    cut: async () => {
      connection++
    },
    freeze: async () => {
      const { promise, resolve } = Promise.withResolvers<void>()
      frozen = promise
      return () => {
        frozen = undefined
        resolve()
      }
    },
  }
}

const broken = (name: string, different: Partial<Ways>, cites?: string): CursorCase => ({
  name,
  of: 'cursors',
  create: () => subject(different),
  ...(cites === undefined ? {} : { cites }),
})

/** Stores that are right. */
export const cursorCorrect: readonly CursorCase[] = [
  broken('a server of cursors', {}),
  {
    name: 'memoryCursors',
    of: 'cursors',
    create: () => {
      const cursors = memoryCursors()
      return { cursors, another: () => cursors }
    },
  },
  {
    name: 'memoryCursors without a list and a second client',
    of: 'cursors',
    create: () => {
      const { list: _, ...cursors } = memoryCursors()
      return { cursors }
    },
  },
]

/** Stores that are broken, each in one way. */
export const cursorCases: readonly CursorCase[] = [
  broken('an unknown consumer is at "0"', { unknown: '0' }, 'the first offset of a topic is not the earliest there is'),
  broken('all consumers share a cursor', { key: () => '' }, 'consumers of one Kafka group'),
  broken('last write wins', { conflicts: () => false }, 'kafkajs setOffsets: 100 and then 40 are both accepted'),
  broken(
    'only a cursor that is less conflicts',
    { conflicts: (there, cursor) => cursor.length < there.cursor.length || cursor < there.cursor },
    'stores that compare instead of compare-and-set; a cursor is opaque',
  ),
  broken(
    'compares and sets in two requests',
    { atomic: false },
    'select and then update, without a transaction or a where clause',
  ),
  broken('what is there already is a conflict', { conflicts: (there, _, expected) => there.cursor !== expected }),
  broken('an unknown consumer accepts any expectation', {
    conflicts: (there, cursor, expected) => there.cursor !== '' && right.conflicts(there, cursor, expected),
  }),
  broken('expecting "" overwrites', {
    conflicts: (there, cursor, expected) => expected !== '' && right.conflicts(there, cursor, expected),
  }),
  broken('compares as numbers', {
    conflicts: (there, cursor, expected) =>
      right.conflicts(there, cursor, expected) && !(there.cursor !== '' && Number(there.cursor) === Number(expected)),
  }),
  broken('a conflict does not tell what is there', { told: ({ reset }) => ({ reset }) }),
  broken('a reset is not told', { told: ({ cursor }) => ({ cursor, reset: false }) }),
  broken('a reset is told for ever', { afterSet: ({ reset }) => reset }),
  broken('a reset of an unknown consumer is not told', { afterReset: ({ cursor }) => cursor !== '' }),
  broken(
    'names in capitals and not are one',
    { key: (consumer) => consumer.toLowerCase() },
    'varchar columns of MySQL with a _ci collation',
  ),
  broken(
    'spaces at the end of a name do not count',
    { key: (consumer) => consumer.trimEnd() },
    'char columns of MySQL, and collations that pad',
  ),
  broken('names are normalised', { key: (consumer) => consumer.normalize('NFC') }, 'file names on macOS'),
  broken(
    'accents and ß do not count',
    { key: (consumer) => consumer.normalize('NFD').replaceAll(/\p{M}/gu, '').replaceAll('ß', 'ss') },
    'utf8mb4_general_ci and utf8mb4_0900_ai_ci',
  ),
  broken(
    'names are keys of NATS without being escaped',
    { key: (consumer) => consumer.replaceAll(/[^\w/=.-]/g, '_') },
    'keys of a NATS bucket take only letters, digits and -_/=.',
  ),
  broken(
    'names are cut after 190 characters',
    { key: (consumer) => consumer.slice(0, 190) },
    'prefix indexes of MySQL',
  ),
  broken(
    'cursors are cut after 255 characters',
    { stored: (cursor) => cursor.slice(0, 255) },
    'varchar(255) without strict mode',
  ),
  broken('cursors are trimmed', { stored: (cursor) => cursor.trim() }, 'NATS trims header values'),
  broken(
    'cursors are kept as numbers',
    { stored: (cursor) => (/^-?\d+$/.test(cursor) ? String(Number(cursor)) : cursor) },
    'INTEGER affinity of SQLite; Redis Lua',
  ),
  broken('the list lacks what was reset', { listed: ({ reset }) => !reset }),
  broken('a get does not heed its signal', { heeds: 'no signal' }),
  broken('each client has a cache', { cache: true }),
  broken('a restart loses what was set', { durable: false }, 'JetStream consumers with mem_storage; Redis without AOF'),
  broken('a lost connection is never replaced', { reconnects: false }, 'a closed NATS connection fails for ever'),
  broken(
    'waits for ever for a server that stands still',
    { timesOut: false },
    'nats pings every 2 minutes; mysql2 never',
  ),
]
