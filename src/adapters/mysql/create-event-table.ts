import type { EventColumns } from './event-columns.ts'

/** The statement that makes an event table if it is missing: the layout of luno/reflex, with `headers` added. */
export function createEventTable(table: string, columns: EventColumns): string {
  const { id, foreignId, timestamp, type, metadata, headers } = columns
  return `create table if not exists \`${table}\` (
  \`${id}\` ${COLUMN_TYPES.id} primary key,
  \`${foreignId}\` ${COLUMN_TYPES.foreignId},
  \`${timestamp}\` ${COLUMN_TYPES.timestamp} comment 'UTC',
  \`${type}\` ${COLUMN_TYPES.type},
  \`${metadata}\` ${COLUMN_TYPES.metadata},
  \`${headers}\` ${COLUMN_TYPES.headers} comment 'a JSON object'
) engine = InnoDB`
}

/** What each column is declared as. */
export const COLUMN_TYPES: EventColumns = {
  id: 'bigint not null auto_increment',
  foreignId: 'varchar(255) character set utf8mb4 collate utf8mb4_bin not null',
  timestamp: 'datetime(6) not null',
  type: 'int not null',
  metadata: 'longblob null',
  headers: 'longtext character set utf8mb4 collate utf8mb4_bin null',
  trace: 'blob null',
}
