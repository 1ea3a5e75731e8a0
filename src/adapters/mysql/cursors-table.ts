import { CursorConflictError, OptionError, ReflexError } from '../../core/errors.ts'
import type { Cursor } from '../../core/event.ts'
import { columnNames } from './column-names.ts'
import { isDuplicate } from './mysql-error.ts'
import type { PooledQuery } from './pooled-query.ts'

/** The names of the columns of a cursors table. */
export interface CursorColumns {
  /** The consumer. Default: `id`. */
  readonly id: string
  /** Text, or `bigint` for cursors that are integers. Default: `last_event_id`. */
  readonly cursor: string
  /** In UTC. Default: `updated_at`. */
  readonly updatedAt: string
}

/** The statements of a cursors table; each runs on the connection, and in the transaction, that `run` is of. */
export interface CursorsTable {
  /** As quoted in statements. */
  readonly names: CursorColumns
  /** The stored cursor; a transaction that has it locked is not waited for. */
  get(run: PooledQuery, consumer: string): Promise<Cursor>
  /** Makes the row if it is missing. The stored cursor, as it is after a transaction that has it locked. */
  prepare(run: PooledQuery, consumer: string): Promise<Cursor>
  /** The stored cursor, locked until the transaction ends; waits for one that has it locked. */
  lock(run: PooledQuery, consumer: string): Promise<StoredCursor>
  /** Compare-and-set. Throws `CursorConflictError`. */
  set(run: PooledQuery, consumer: string, cursor: Cursor, expected: Cursor): Promise<void>
  reset(run: PooledQuery, consumer: string, cursor: Cursor): Promise<void>
  list(run: PooledQuery): Promise<Map<string, Cursor>>
}

/** A cursor, and whether an operator's reset wrote it. */
export interface StoredCursor {
  readonly cursor: Cursor
  readonly reset: boolean
}

/** The layout of luno/reflex. */
const DEFAULT_COLUMNS: CursorColumns = { id: 'id', cursor: 'last_event_id', updatedAt: 'updated_at' }
/** Longer than any cursor, and a bridge's checkpoint. */
const CURSOR_LENGTH = 4096
/** How `""` is stored in a column of integers: before 0, which is a cursor. */
const NO_INTEGER = '-1'
const LARGEST = 2n ** 63n - 1n

/** What the table's columns can hold. */
interface Layout {
  readonly integers: boolean
  /** Characters of a consumer's name and of a cursor. */
  readonly idLength: number
  readonly cursorLength: number
}

/** The names that are given, and the defaults. Throws `OptionError` as `columnNames` does. */
export function cursorColumns(given?: Partial<CursorColumns>): CursorColumns {
  return columnNames(DEFAULT_COLUMNS, given)
}

/** The cursors table `table` of `database`, which connections need not be in. `name` stands in errors. */
export function cursorsTable(name: string, database: string, table: string, columns: CursorColumns): CursorsTable {
  const into = `\`${database.replaceAll('`', '``')}\`.\`${table}\``
  const names: CursorColumns = {
    id: `\`${columns.id}\``,
    cursor: `\`${columns.cursor}\``,
    updatedAt: `\`${columns.updatedAt}\``,
  }
  // Compared as bytes: whatever the columns' collation is, and a column of integers as its digits.
  const exact = (column: string): string => `cast(convert(${column} using utf8mb4) as binary)`
  const isRow = `${names.id} = _utf8mb4 ? and ${exact(names.id)} = ?`
  let known: Layout | undefined

  const layout = async (run: PooledQuery): Promise<Layout> => {
    known ??= readLayout(name, table, columns, (await run(`show columns from ${into}`, [])) as readonly string[][])
    return known
  }
  // As bytes both ways: whatever the connections' character set is, they are what was given.
  const bytes = (what: string, text: string, length: number): Buffer => {
    if (text.isWellFormed() && [...text].length <= length) return Buffer.from(text)
    throw new OptionError(
      `${name}: ${what} must be well-formed Unicode of at most ${length} characters, but is ${JSON.stringify(text.slice(0, 100))}`,
    )
  }
  const encode = (cursor: Cursor, { integers, cursorLength }: Layout): Buffer => {
    if (!integers) return bytes('a cursor', cursor, cursorLength)
    if (cursor === '') return Buffer.from(NO_INTEGER)
    if (/^(0|[1-9]\d{0,18})$/.test(cursor) && BigInt(cursor) <= LARGEST) return Buffer.from(cursor)
    throw new OptionError(
      `${name}: the column ${columns.cursor} holds integers, but the cursor is ${JSON.stringify(cursor.slice(0, 100))}: make it a varchar, or keep this consumer's cursor in another table`,
    )
  }
  const decode = (value: Uint8Array, { integers }: Layout): Cursor => {
    const text = Buffer.from(value).toString()
    return integers && text === NO_INTEGER ? '' : text
  }
  const idOf = (consumer: string, { idLength }: Layout): Buffer => bytes('the name of a consumer', consumer, idLength)

  const read = async (
    run: PooledQuery,
    consumer: string,
    { locked }: { readonly locked: boolean },
  ): Promise<StoredCursor | undefined> => {
    const has = await layout(run)
    const id = idOf(consumer, has)
    const rows = (await run(
      `select ${exact(names.cursor)}, is_reset from ${into} where ${isRow}${locked ? ' for update' : ''}`,
      [id, id],
    )) as readonly [Uint8Array, number | string][]
    return rows[0] && { cursor: decode(rows[0][0], has), reset: Number(rows[0][1]) === 1 }
  }
  const sameNames = (consumer: string): ReflexError =>
    new ReflexError(
      'TABLE_LAYOUT',
      `${name}: the collation of the column ${columns.id} takes ${JSON.stringify(consumer)} and the name of another consumer for the same: give it a binary one, or use another name`,
      { retriable: false },
    )
  const upsert = `insert into ${into} (${names.id}, ${names.cursor}, is_reset, ${names.updatedAt}) values (_utf8mb4 ?, _utf8mb4 ?, ?, utc_timestamp(6)) on duplicate key update`
  /** A row that cannot be seen after it was written is that of another name. */
  const written = async (run: PooledQuery, consumer: string): Promise<StoredCursor> => {
    const stored = await read(run, consumer, { locked: true })
    if (stored === undefined) throw sameNames(consumer)
    return stored
  }

  return {
    names,
    get: async (run, consumer) => (await read(run, consumer, { locked: false }))?.cursor ?? '',
    prepare: async (run, consumer) => {
      const has = await layout(run)
      await run(`${upsert} ${names.id} = ${names.id}`, [idOf(consumer, has), encode('', has), 0])
      return (await written(run, consumer)).cursor
    },
    lock: async (run, consumer) => (await read(run, consumer, { locked: true })) ?? NOTHING,
    set: async (run, consumer, cursor, expected) => {
      const has = await layout(run)
      const id = idOf(consumer, has)
      const next = encode(cursor, has)
      const last = encode(expected, has)
      const insert = `insert into ${into} (${names.id}, ${names.cursor}, is_reset, ${names.updatedAt}) values (_utf8mb4 ?, _utf8mb4 ?, 0, utc_timestamp(6))`
      const update = `update ${into} set ${names.cursor} = _utf8mb4 ?, is_reset = 0, ${names.updatedAt} = utc_timestamp(6)
        where ${isRow} and ${exact(names.cursor)} in (?, ?)`
      for (let inserted = false; ; inserted = true) {
        // One statement, and so one transaction at least: it writes only over one of the two cursors that may be there.
        const result = await run(update, [next, id, id, next, last])
        // None changed, or none found: a flag of the connection tells which of the two is counted. What is there does not lie.
        if ((result as { affectedRows: number }).affectedRows === 1) return
        // Locked: a transaction would else see its snapshot.
        const stored = await read(run, consumer, { locked: true })
        if (stored !== undefined || expected !== '') {
          const { cursor: actual, reset } = stored ?? NOTHING
          if (actual === cursor) return
          throw new CursorConflictError({ consumer, expected, actual, reset })
        }
        if (inserted) throw sameNames(consumer)
        try {
          await run(insert, [id, next])
          return
        } catch (error) {
          if (!isDuplicate(error)) throw error
        }
      }
    },
    reset: async (run, consumer, cursor) => {
      const has = await layout(run)
      const id = idOf(consumer, has)
      const next = encode(cursor, has)
      const isSame = `${exact(names.id)} = ?`
      await run(
        `${upsert} ${names.cursor} = if(${isSame}, _utf8mb4 ?, ${names.cursor}),
          is_reset = if(${isSame}, 1, is_reset), ${names.updatedAt} = if(${isSame}, utc_timestamp(6), ${names.updatedAt})`,
        [id, next, 1, id, next, id, id],
      )
      await written(run, consumer)
    },
    list: async (run) => {
      const has = await layout(run)
      const rows = (await run(
        `select ${exact(names.id)}, ${exact(names.cursor)} from ${into} order by ${names.id}`,
        [],
      )) as readonly [Uint8Array, Uint8Array][]
      return new Map(rows.map(([id, cursor]) => [Buffer.from(id).toString(), decode(cursor, has)]))
    },
  }
}

const NOTHING: StoredCursor = { cursor: '', reset: false }

function readLayout(name: string, table: string, columns: CursorColumns, rows: readonly string[][]): Layout {
  const types = new Map(rows.map(([column, type]) => [String(column).toLowerCase(), String(type).toLowerCase()]))
  const refuse = (problem: string): never => {
    throw new ReflexError('TABLE_LAYOUT', `${name}: ${problem}`, { retriable: false })
  }
  const typeOf = (column: string): string =>
    types.get(column.toLowerCase()) ??
    refuse(`the table ${table} has no column ${column}: name its columns with the option columns, or create it anew`)
  typeOf(columns.updatedAt)
  if (!types.has('is_reset')) {
    refuse(
      `the table ${table} has no column is_reset, in which a reset is marked: ALTER TABLE \`${table}\` ADD is_reset tinyint(1) NOT NULL DEFAULT 0`,
    )
  }
  const lengthOf = (type: string): number | undefined => {
    const [, length] = /^(?:var)?char\((\d+)\)/.exec(type) ?? []
    return /text/.test(type)
      ? CURSOR_LENGTH
      : length === undefined
        ? undefined
        : Math.min(Number(length), CURSOR_LENGTH)
  }
  const [id, cursor] = [typeOf(columns.id), typeOf(columns.cursor)]
  const integers = /^bigint(?!.*unsigned)/.test(cursor)
  return {
    integers,
    idLength: lengthOf(id) ?? refuse(`expected the column ${columns.id} to be a varchar, but it is ${id}`),
    cursorLength: integers
      ? 0
      : (lengthOf(cursor) ??
        refuse(`expected the column ${columns.cursor} to be a varchar or a signed bigint, but it is ${cursor}`)),
  }
}
