import { FencedError, ReflexError } from '../../core/errors.ts'
import type { Event, Headers } from '../../core/event.ts'
import type { SinkWriter } from '../../core/sink.ts'
import { wireNames } from '../../core/wire.ts'
import type { Connection } from './connect.ts'
import { checkEvent, prepareInsert } from './event-table.ts'
import { prepare } from './prepare.ts'
import type { Route, Taken } from './route.ts'
import { transaction } from './transaction.ts'
import { waitedFor } from './waited-for.ts'

const reserved: ReadonlySet<string> = new Set(Object.values(wireNames))

/** The writer of a route that was taken over. Closes the connection when it is closed. */
export function routeWriter(connection: Connection, { name, table, route, source }: Route, taken: Taken): SinkWriter {
  const { database } = connection
  const { cursor: resumeFrom, epoch, repair } = taken
  const insert = prepareInsert(database, table)
  const owner = prepare(database, 'select epoch from routes where target = ? and route = ?', { bigInts: true })
  const advance = prepare(database, 'update routes set cursor = ?, mark = ? where target = ? and route = ?')
  const row = prepare(database, `select 1 from ${table} where id = ?`)
  let { mark } = taken
  let isThere = row.get(mark) !== undefined // else retention has had it
  let failure: unknown

  const append = (events: readonly Event[], cursor: string): bigint =>
    transaction(database, () => {
      const now = owner.get(table, route)?.['epoch']
      if (now !== epoch) {
        throw new FencedError(
          `${name}: another writer has taken the route ${route} over (epoch ${now ?? 'none'}, this one has ${epoch})`,
        )
      }
      if (isThere && row.get(mark) === undefined) {
        throw new ReflexError(
          'SINK_TAIL_CHANGED',
          `${name}: row ${mark}, the newest of route ${route}, was removed since the last append. Opening it again finds out what is lost.`,
        )
      }
      let last = mark
      for (const event of events) last = insert(event, sourceHeaders(event, source))
      advance.run(cursor, last, table, route)
      return last
    })

  return {
    resumeFrom,
    ...(repair === undefined ? {} : { repair }),
    append: async (events, cursor) => {
      if (failure instanceof FencedError) throw failure
      if (failure !== undefined) {
        throw new ReflexError(
          'WRITER_DEAD',
          `${name}: the writer of route ${route} has failed before: open another one`,
          { cause: failure },
        )
      }
      try {
        for (const event of events) checkEvent(name, event)
        mark = await connection.use(() => append(events, cursor))
        isThere ||= events.length > 0
        return String(mark)
      } catch (error) {
        failure = error
        throw waitedFor(error)
      }
    },
    [Symbol.asyncDispose]: async () => connection[Symbol.dispose](),
  }
}

/** The event's headers as JSON, with where it came from instead of what an earlier bridge said. */
function sourceHeaders({ id, headers }: Event, source: string): string {
  const all: Record<string, Headers[string]> = { [wireNames.source]: source, [wireNames.sourceId]: id }
  for (const name in headers) {
    if (!reserved.has(name)) Object.defineProperty(all, name, { value: headers[name], enumerable: true })
  }
  return JSON.stringify(all)
}
