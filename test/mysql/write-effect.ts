import type { Connection } from 'mysql2/promise'
import type { Event } from '../../src/core/event.ts'
import type { Database } from './database.ts'

/** Tables for effects that show how often each event took effect: no key keeps a second time out. */
export async function createEffects(database: Database): Promise<void> {
  await database.sql('create table effects (event_id varchar(40) not null) engine = InnoDB')
  await database.sql('create table total (amount bigint not null) engine = InnoDB')
  await database.sql('insert into total values (0)')
}

/** The effect of an event: a row, and its number added to the total. */
export async function writeEffect(connection: Connection, { id }: Pick<Event, 'id'>): Promise<void> {
  await connection.query('insert into effects values (?)', [id])
  await connection.query('update total set amount = amount + ?', [Number(id)])
}

/** Which events took effect, sorted, and their sum as the total says it. */
export async function readEffects(database: Database): Promise<{ readonly ids: number[]; readonly total: number }> {
  const rows = await database.sql('select event_id from effects')
  const [[total]] = (await database.sql('select amount from total')) as [[string | number]]
  return { ids: rows.map(([id]) => Number(id)).toSorted((a, b) => a - b), total: Number(total) }
}
