import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { sqliteEvents } from '../../src/adapters/sqlite/index.ts'
import type { Event } from '../../src/core/event.ts'
import { events, insertInto, newFolder } from './command.ts'
import { eventsIn } from './logs.ts'

/** A folder with `shop.db`, so many events in it, and `bridge.yaml`, whose route `orders` leads to `log.db`. */
export function sqliteShop(
  count: number,
  { createTables = true, more = '' }: { createTables?: boolean; more?: string } = {},
): string {
  const folder = newFolder()
  insertInto(join(folder, 'shop.db'), 'events', events(count))
  const route = '{ source: { url: sqlite:shop.db }, sink: { url: sqlite:log.db, table: log } }'
  writeFileSync(join(folder, 'bridge.yaml'), `createTables: ${createTables}\nroutes:\n  orders: ${route}\n${more}`)
  return folder
}

/** What is in a table of a SQLite file. */
export function inTable(path: string, table: string): Promise<Event[]> {
  return eventsIn(sqliteEvents(path, { table }).source)
}
