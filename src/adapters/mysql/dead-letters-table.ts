import { OptionError, ReflexError } from '../../core/errors.ts'
import type { Event } from '../../core/event.ts'
import { parseTimestamp } from '../../core/wire.ts'
import type { LetterKey } from '../../sql/rewrite-letters.ts'
import { columnNames } from './column-names.ts'
import type { PooledQuery } from './pooled-query.ts'

/** An event that a consumer could not handle, and went past unless it is `failing`. */
export interface DeadLetter {
  readonly id: string
  readonly consumer: string
  readonly eventId: string
  /** Undefined if a Go service recorded it, which keeps no more than the id. */
  readonly event: Event | undefined
  /** Of the last error. */
  readonly message: string
  /** How often it was handled in vain; 0 if that was not counted. */
  readonly attempts: number
  /** `failing`: the consumer is still trying. */
  readonly status: 'open' | 'resolved' | 'failing'
  /** Epoch in ms. */
  readonly createdAt: number
  /** Epoch in ms. */
  readonly updatedAt: number
}

/** The names of the columns of a dead letter table that luno/reflex has too. */
export interface DeadLetterColumns {
  /** Default: `id`. */
  readonly id: string
  /** Default: `consumer`. */
  readonly consumer: string
  /** Text, or `bigint` where all event ids are integers. Default: `event_id`. */
  readonly eventId: string
  /** Default: `error_msg`. */
  readonly message: string
  /** Default: `created_at`. */
  readonly createdAt: string
  /** Default: `updated_at`. */
  readonly updatedAt: string
  /** 1 is open, 2 is resolved, 3 is failing. Default: `error_status`. */
  readonly status: string
}

/** The statements of a table of dead letters; each runs on the connection, and in the transaction, that `run` is of. */
export interface DeadLettersTable {
  /** The statement that creates it. */
  readonly create: string
  /**
   * In a transaction. `open`: opens the letter, and counts an attempt unless it was failing; `failing`: counts an attempt, and a
   * resolved one begins anew. `opened`: it is open, and was not before.
   */
  record(
    run: PooledQuery,
    letter: {
      readonly consumer: string
      readonly event: Event
      readonly message: string
      readonly as: 'open' | 'failing'
    },
  ): Promise<Pick<DeadLetter, 'id' | 'eventId' | 'attempts' | 'createdAt'> & { readonly opened: boolean }>
  list(
    run: PooledQuery,
    page: {
      readonly consumer: string | undefined
      readonly status: DeadLetter['status']
      readonly after: string
      readonly limit: number
    },
  ): Promise<DeadLetter[]>
  /** The first open letters of a consumer that have an event. */
  openIds(run: PooledQuery, consumer: string, limit: number): Promise<string[]>
  /** The event of an open letter, which is locked until the transaction ends; undefined if it is locked, or open no more. */
  take(run: PooledQuery, id: string): Promise<Event | undefined>
  fail(run: PooledQuery, id: string, message: string): Promise<void>
  /** False if there is no such letter. */
  resolve(run: PooledQuery, id: string): Promise<boolean>
  /** The open letters of a consumer and a foreignId that have an event. */
  openOf(run: PooledQuery, consumer: string, foreignId: string): Promise<LetterKey[]>
  /** Which of these letters are open; they are locked until the transaction ends, and those that are locked are waited for. */
  hold(run: PooledQuery, ids: readonly string[]): Promise<ReadonlySet<string>>
  /** The events of letters that are held, in this order. */
  eventsOf(run: PooledQuery, ids: readonly string[]): Promise<Event[]>
  /** Resolves letters that are held. */
  resolveAll(run: PooledQuery, ids: readonly string[]): Promise<void>
}

const DEFAULT_COLUMNS: DeadLetterColumns = {
  id: 'id',
  consumer: 'consumer',
  eventId: 'event_id',
  message: 'error_msg',
  createdAt: 'created_at',
  updatedAt: 'updated_at',
  status: 'error_status',
}
const STATUS = { open: 1, resolved: 2, failing: 3 } as const
/** Of a consumer's name and of an event's id. */
const KEY_LENGTH = 255
/** Below the 65,535 bytes of a `text`, whatever the characters are: a long message must not be in the way of recording. */
const MESSAGE_LENGTH = 10_000

/** The names that are given, and the defaults. Throws `OptionError` as `columnNames` does. */
export function deadLetterColumns(given?: Partial<DeadLetterColumns>): DeadLetterColumns {
  return columnNames(DEFAULT_COLUMNS, given)
}

/** The dead letter table `table` of `database`, which connections need not be in. `name` stands in errors. */
export function deadLettersTable(
  name: string,
  database: string,
  table: string,
  columns: DeadLetterColumns,
): DeadLettersTable {
  const into = `\`${database.replaceAll('`', '``')}\`.\`${table}\``
  const quote = (column: string): string => `\`${column}\``
  const [id, consumer, eventId] = [quote(columns.id), quote(columns.consumer), quote(columns.eventId)]
  const [message, status] = [quote(columns.message), quote(columns.status)]
  const [createdAt, updatedAt] = [quote(columns.createdAt), quote(columns.updatedAt)]
  const exact = (column: string): string => `cast(convert(${column} using utf8mb4) as binary)`
  const isOf = `${consumer} = _utf8mb4 ? and ${exact(consumer)} = ?`
  const isOpen = `${status} not in (${STATUS.resolved}, ${STATUS.failing})`

  const key = (what: string, text: string): Buffer => {
    if (typeof text === 'string' && text.isWellFormed() && [...text].length <= KEY_LENGTH) return Buffer.from(text)
    throw new OptionError(
      `${name}: ${what} must be well-formed Unicode of at most ${KEY_LENGTH} characters, but is ${JSON.stringify(text)}`,
    )
  }
  const short = (text: string): Buffer => Buffer.from([...text.toWellFormed()].slice(0, MESSAGE_LENGTH).join(''))
  const idOf = (text: string): string => {
    if (/^\d{1,19}$/.test(text)) return text
    throw new OptionError(`${name}: the id of a dead letter is an integer, but it is ${JSON.stringify(text)}`)
  }

  return {
    create: `create table if not exists \`${table}\` (
  ${id} bigint not null auto_increment primary key,
  ${consumer} varchar(${KEY_LENGTH}) character set utf8mb4 collate utf8mb4_bin not null,
  ${eventId} varchar(${KEY_LENGTH}) character set utf8mb4 collate utf8mb4_bin not null,
  ${message} text character set utf8mb4 not null,
  ${createdAt} datetime(6) not null comment 'UTC',
  ${updatedAt} datetime(6) not null comment 'UTC',
  ${status} int not null comment '1 is open, 2 is resolved, 3 is failing',
  attempts int not null default 0,
  event longtext character set utf8mb4 null comment 'JSON: type, foreignId, timestamp, headers',
  metadata longblob null,
  unique key (${consumer}, ${eventId})
) engine = InnoDB`,

    record: async (run, { consumer: of, event, message: text, as }) => {
      const consumerKey = key('the name of a consumer', of)
      const eventKey = key("an event's id", event.id)
      const { type, foreignId, timestamp, headers, metadata } = event
      const result = await run(
        `insert into ${into} (${consumer}, ${eventId}, ${message}, ${createdAt}, ${updatedAt}, ${status}, event, metadata)
          values (_utf8mb4 ?, _utf8mb4 ?, _utf8mb4 ?, utc_timestamp(6), utc_timestamp(6), ${STATUS[as]}, _utf8mb4 ?, ?)
          on duplicate key update ${id} = last_insert_id(${id})`,
        [
          consumerKey,
          eventKey,
          short(text),
          Buffer.from(JSON.stringify({ type, foreignId, timestamp, headers })),
          metadata === null ? null : Buffer.from(metadata.buffer, metadata.byteOffset, metadata.length),
        ],
      )
      const recorded = String((result as { insertId: number | string }).insertId)
      const [found] = (await run(
        `select attempts, ${status}, ${exact(consumer)} = ? and ${exact(eventId)} = ? from ${into} where ${id} = ${recorded} for update`,
        [consumerKey, eventKey],
      )) as readonly [number | string, number | string, number | string | null][]
      // The row of another key, which the collation takes for the same; or a column of integers, and an id that is none.
      if (found === undefined || Number(found[2]) !== 1) {
        throw new ReflexError(
          'TABLE_LAYOUT',
          `${name}: the columns ${columns.consumer} and ${columns.eventId} cannot hold ${JSON.stringify([of, event.id])}: make them varchar with a binary collation, as createTable() does`,
          { retriable: false },
        )
      }
      const [attempts, was] = [Number(found[0]), Number(found[1])]
      const anew = as === 'failing' && was === STATUS.resolved
      // One that is given up was counted when it failed.
      const count = anew ? 1 : attempts + (as === 'open' && was === STATUS.failing ? 0 : 1)
      const now = as === 'failing' && was === STATUS.open ? STATUS.open : STATUS[as]
      const set = [
        `attempts = ${count}`,
        ...(anew ? [`${createdAt} = utc_timestamp(6)`] : []),
        `${message} = _utf8mb4 ?, ${status} = ${now}, ${updatedAt} = utc_timestamp(6)`,
      ]
      await run(`update ${into} set ${set.join(', ')} where ${id} = ${recorded}`, [short(text)])
      const [since] = (await run(`select ${createdAt} from ${into} where ${id} = ${recorded}`, [])) as readonly [
        string,
      ][]
      return {
        id: recorded,
        eventId: event.id,
        attempts: count,
        createdAt: toMs(since?.[0] ?? ''),
        opened: now === STATUS.open && (attempts === 0 || was !== STATUS.open),
      }
    },

    list: async (run, { consumer: of, status: wanted, after, limit }) => {
      const key255 = of === undefined ? undefined : key('the name of a consumer', of)
      const rows = (await run(
        `select ${id}, ${exact(consumer)}, ${exact(eventId)}, ${exact(message)}, attempts, ${status}, ${createdAt}, ${updatedAt}, ${exact('event')}, metadata
          from ${into} where ${id} > ${idOf(after)} and ${wanted === 'open' ? isOpen : `${status} = ${STATUS[wanted]}`}${key255 ? ` and ${isOf}` : ''}
          order by ${id} limit ${limit}`,
        key255 ? [key255, key255] : [],
      )) as readonly Row[]
      return rows.map((row) => toLetter(row))
    },

    openIds: async (run, of, limit) => {
      const consumerKey = key('the name of a consumer', of)
      const rows = (await run(
        `select ${id} from ${into} where ${isOf} and ${isOpen} and event is not null order by ${id} limit ${limit}`,
        [consumerKey, consumerKey],
      )) as readonly [number | string][]
      return rows.map(([each]) => String(each))
    },

    take: async (run, of) => {
      const [row] = (await run(
        `select ${exact(eventId)}, ${exact('event')}, metadata from ${into}
          where ${id} = ${idOf(of)} and ${isOpen} for update skip locked`,
        [],
      )) as readonly [Uint8Array, Uint8Array | null, Uint8Array | null][]
      return row && toEvent(...row)
    },

    fail: async (run, of, text) => {
      await run(
        `update ${into} set attempts = attempts + 1, ${message} = _utf8mb4 ?, ${updatedAt} = utc_timestamp(6) where ${id} = ${idOf(of)}`,
        [short(text)],
      )
    },

    resolve: async (run, of) => {
      const where = `where ${id} = ${idOf(of)}`
      await run(`update ${into} set ${status} = ${STATUS.resolved}, ${updatedAt} = utc_timestamp(6) ${where}`, [])
      return ((await run(`select 1 from ${into} ${where}`, [])) as readonly unknown[]).length === 1
    },

    openOf: async (run, of, foreignId) => {
      const consumerKey = key('the name of a consumer', of)
      // MySQL does not read JSON with text that is not well-formed: it only says where it is worth a look.
      const rows = (await run(
        `select ${id}, ${exact(eventId)}, ${exact('event')} from ${into}
          where ${isOf} and ${isOpen} and event is not null and instr(${exact('event')}, ?) > 0`,
        [consumerKey, consumerKey, Buffer.from(JSON.stringify(foreignId))],
      )) as readonly [number | string, Uint8Array, Uint8Array][]
      return rows.flatMap(([each, event, json]) =>
        toEvent(event, json, null)?.foreignId === foreignId ? [{ id: String(each), eventId: textOf(event) }] : [],
      )
    },

    hold: async (run, ids) => {
      if (ids.length === 0) return new Set()
      const rows = (await run(
        `select ${id} from ${into} where ${id} in (${ids.map(idOf).join(', ')}) and ${isOpen} order by ${id} for update`,
        [],
      )) as readonly [number | string][]
      return new Set(rows.map(([each]) => String(each)))
    },

    eventsOf: async (run, ids) => {
      const list = ids.map(idOf).join(', ')
      const rows = (await run(
        `select ${exact(eventId)}, ${exact('event')}, metadata from ${into} where ${id} in (${list}) order by field(${id}, ${list})`,
        [],
      )) as readonly [Uint8Array, Uint8Array, Uint8Array | null][]
      return rows.map((row) => toEvent(...row) as Event)
    },

    resolveAll: async (run, ids) => {
      await run(
        `update ${into} set ${status} = ${STATUS.resolved}, ${updatedAt} = utc_timestamp(6) where ${id} in (${ids.map(idOf).join(', ')})`,
        [],
      )
    },
  }
}

type Row = readonly [
  id: number | string,
  consumer: Uint8Array,
  eventId: Uint8Array,
  message: Uint8Array,
  attempts: number | string,
  status: number | string,
  createdAt: string,
  updatedAt: string,
  event: Uint8Array | null,
  metadata: Uint8Array | null,
]

function toLetter(row: Row): DeadLetter {
  const [id, consumer, eventId, message, attempts, status, createdAt, updatedAt, event, metadata] = row
  return {
    id: String(id),
    consumer: textOf(consumer),
    eventId: textOf(eventId),
    event: toEvent(eventId, event, metadata),
    message: textOf(message),
    attempts: Number(attempts),
    status: Number(status) === STATUS.resolved ? 'resolved' : Number(status) === STATUS.failing ? 'failing' : 'open',
    createdAt: toMs(createdAt),
    updatedAt: toMs(updatedAt),
  }
}

function toEvent(id: Uint8Array, event: Uint8Array | null, metadata: Uint8Array | null): Event | undefined {
  if (event === null) return undefined
  const rest = JSON.parse(textOf(event)) as Omit<Event, 'id' | 'metadata'>
  return { id: textOf(id), ...rest, metadata }
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString()
}

function toMs(datetime: string): number {
  return parseTimestamp(`${datetime.replace(' ', 'T')}Z`)
}
