import type { DatabaseSync } from 'node:sqlite'
import { CursorInvalidError, OptionError, ReflexError } from '../../core/errors.ts'
import type { Checkpoint } from '../../core/sink.ts'
import { wireNames } from '../../core/wire.ts'
import type { Connection } from './connect.ts'
import { checkEventTable } from './event-table.ts'
import { prepare } from './prepare.ts'
import { transaction } from './transaction.ts'

/** A bridge's way into an event table. */
export interface Route {
  /** For errors. */
  readonly name: string
  readonly table: string
  readonly route: string
  readonly source: string
}

/** The statement that creates the table of routes. */
export const createRouteTable = `create table if not exists routes (
  target text not null, -- the event table
  route text not null,
  source text not null, -- the log that the events come from
  cursor text not null, -- how far it was read
  mark integer not null, -- the id of the route's newest event; 0 before the first
  epoch integer not null, -- goes up each time the route is opened: a writer of an earlier epoch is fenced
  primary key (target, route)
) strict, without rowid`

const openRoute = `insert into routes (target, route, source, cursor, mark, epoch) values (?, ?, ?, '', 0, 1)
  on conflict do update set epoch = epoch + 1 returning source, cursor, mark, epoch`

/** What a writer starts from. */
export interface Taken {
  readonly cursor: string
  readonly mark: bigint
  readonly epoch: bigint
  readonly repair: string | undefined
}

/** What has to be known to take a route over. */
export interface TakeOverOptions {
  readonly saved: Checkpoint | undefined
  /** At most so many lost events are refilled. */
  readonly maxRefill: number
  readonly signal: AbortSignal | undefined
}

/**
 * Takes the route over: raises its epoch, so that an earlier writer is fenced, and reads where it stands. What the table
 * says counts, since it was written together with the events; `saved` only tells whether the file has lost its tail.
 */
export async function takeOver(
  { database, use }: Connection,
  { name, table, route, source }: Route,
  { saved, maxRefill, signal }: TakeOverOptions,
): Promise<Taken> {
  const savedMark = parseMark(name, saved?.mark ?? '')
  return use(
    () =>
      transaction(database, () => {
        checkEventTable(name, database, table)
        const open = prepare(database, openRoute, { bigInts: true })
        const found = open.get(table, route, source) as { source: string; cursor: string; mark: bigint; epoch: bigint }
        if (found.source !== source) {
          throw new OptionError(
            `${name}: the route ${route} carries the events of ${found.source} so far, and its cursor means nothing to ${source}: give the new route another name`,
          )
        }
        const { mark, epoch } = found
        checkTail(database, { name, table, route, source }, mark)
        const left = newestLeft(database, { name, table, route, source }, mark)
        if (left !== undefined) {
          checkLoss(database, { name, table, route, source }, { from: left, upTo: [savedMark, mark], maxRefill })
          return { ...left, epoch }
        }
        // A checkpoint without an event in this table is where the route starts.
        const cursor = found.cursor === '' && savedMark === 0n ? (saved?.cursor ?? '') : found.cursor
        checkLoss(database, { name, table, route, source }, { from: { cursor, mark }, upTo: [savedMark], maxRefill })
        return { cursor, mark, epoch, repair: compare(savedMark, mark, cursor) }
      }),
    { signal },
  )
}

function parseMark(name: string, mark: string): bigint {
  if (mark === '') return 0n
  if (/^\d{1,19}$/.test(mark)) return BigInt(mark)
  throw new CursorInvalidError(name, {
    cursor: mark,
    expected: 'the decimal id of a row as the mark of the checkpoint',
  })
}

/** Refuses an event table that is not the one that the route was written to. Events that retention has removed are no concern. */
function checkTail(database: DatabaseSync, { name, table, route, source }: Route, mark: bigint): void {
  if (mark === 0n) return
  const sequence = prepare(database, 'select seq from sqlite_sequence where name = ? collate nocase', { bigInts: true })
  const newest = (sequence.get(table)?.['seq'] ?? 0n) as bigint
  const sourceOf = `select iif(json_valid(headers), headers ->> '$."${wireNames.source}"', null) as source from ${table} where id = ?`
  const row = prepare(database, sourceOf).get(mark)
  if (newest >= mark && (row === undefined || row['source'] === source)) return
  throw new ReflexError(
    'DESTINATION_REPLACED',
    `${name}: the table routes says that the newest event of route ${route} is row ${mark}, but ` +
      `${newest < mark ? `the newest id that the table ever gave is ${newest}` : 'that row is another event'}: the table was made anew without its routes. ` +
      `Restore it, or delete the route's row in the table routes to fill the table from the start.`,
    { retriable: false },
  )
}

/**
 * What is left of a route whose newest row is gone, though older ones are there: retention takes the oldest first, so somebody has
 * removed the tail. Undefined if it is there, or retention has had it, or another route of the same source may have written what is left.
 */
function newestLeft(
  database: DatabaseSync,
  { table, route, source }: Route,
  mark: bigint,
): Omit<Taken, 'epoch'> | undefined {
  if (mark === 0n || prepare(database, `select 1 from ${table} where id = ?`).get(mark) !== undefined) return undefined
  const others = prepare(database, 'select 1 from routes where target = ? and source = ? and route <> ?')
  if (others.get(table, source, route) !== undefined) return undefined
  const header = (name: string): string => `headers ->> '$."${name}"'`
  const newest = `select id, ${header(wireNames.sourceId)} as cursor from ${table}
    where id < ? and iif(json_valid(headers), ${header(wireNames.source)}, null) = ? order by id desc limit 1`
  const row = prepare(database, newest, { bigInts: true }).get(mark, source)
  if (row === undefined || typeof row['cursor'] !== 'string') return undefined
  const [id, cursor] = [row['id'] as bigint, row['cursor']]
  const repair = `the rows of this route after row ${id} were removed from the table, up to row ${mark}: it is refilled from the source after event ${cursor}`
  return { cursor, mark: id, repair }
}

/** Refuses to refill more than is refilled unasked, up to any of some marks. Rows that are still there, in what was lost, are of others. */
function checkLoss(
  database: DatabaseSync,
  { name, table, route }: Route,
  { from, upTo, maxRefill }: { from: Pick<Taken, 'cursor' | 'mark'>; upTo: readonly bigint[]; maxRefill: number },
): void {
  const count = prepare(database, `select count(*) as count from ${table} where id > ? and id <= ?`, { bigInts: true })
  for (const to of upTo) {
    if (to - from.mark <= BigInt(maxRefill)) continue
    const lost = to - from.mark - (count.get(from.mark, to)?.['count'] as bigint)
    if (lost <= BigInt(maxRefill)) continue
    const where = from.cursor === '' ? 'the earliest event on' : `after event ${from.cursor}`
    throw new ReflexError(
      'SINK_LOST_TOO_MUCH',
      `${name}: the table has lost the events of route ${route} after row ${from.mark}: up to ${lost}, more than the ${maxRefill} that are refilled unasked. Find out why they are lost; ` +
        `to refill them, from the source ${where}, give the sink the option maxRefill: ${lost}`,
      { retriable: false },
    )
  }
}

function compare(saved: bigint, found: bigint, cursor: string): string | undefined {
  if (found > saved) {
    return `the table holds events of this route up to row ${found}, beyond the checkpoint's ${saved}: they are not appended again`
  }
  if (found < saved) {
    return `the table has lost the events of this route after row ${found} (the checkpoint says ${saved}): it is refilled from the cursor ${JSON.stringify(cursor)}`
  }
  return undefined
}
