export { openSqlite } from './open-sqlite.ts'
export { type SqliteCursors, sqliteCursors } from './sqlite-cursors.ts'
export { type SqliteEvents, type SqliteEventsOptions, sqliteEvents } from './sqlite-events.ts'
export { type SqliteSink, sqliteSink } from './sqlite-sink.ts'
