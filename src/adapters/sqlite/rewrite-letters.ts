import type { DatabaseSync } from 'node:sqlite'
import { formatHeaders } from '../../sql/headers-text.ts'
import { copyOf, letterInUse, lettersToRewrite, type RewriteLetters } from '../../sql/rewrite-letters.ts'
import { parseTableCursor } from '../../sql/table-stream.ts'
import { connect, locate } from './connect.ts'
import { checkEvent, prepareInsert } from './event-table.ts'
import { prepare } from './prepare.ts'
import { toLetter } from './sqlite-dead-letters.ts'
import { transaction } from './transaction.ts'

/** What writes the events of dead letters in the table `letters` to the event table `source` of the same database anew. */
export function rewriteLetters(
  database: DatabaseSync,
  { letters, source }: { readonly letters: string; readonly source: string },
): RewriteLetters {
  const name = `sqlite:${source}`
  const { use } = connect(name, locate(name, database), { share: true })

  return (options) =>
    use(() =>
      transaction(database, () => {
        const { consumer, foreignId, passed } = options
        const find = `select cast(id as text) as id, event_id, event from ${letters}
          where consumer = ? and resolved = 0 and instr(event, ?) > 0`
        const known = prepare(database, find)
          .all(consumer, JSON.stringify(foreignId))
          .filter(({ event }) => (JSON.parse(event as string) as { foreignId: string }).foreignId === foreignId)
          .map(({ id, event_id }) => ({ id: id as string, eventId: event_id as string }))
        const open = lettersToRewrite(name, known, options)
        if (open.length === 0) return []
        const between = prepare(database, `select id from ${source} where id > ? and foreign_id = ? limit 1`, {
          bigInts: true,
        })
        const before = between.get(parseTableCursor(name, passed), foreignId)
        if (before !== undefined) throw letterInUse(options, String(before['id']))
        const read = prepare(database, `select * from ${letters} where id = cast(? as integer)`)
        const resolve = prepare(database, `update ${letters} set resolved = 1 where id = cast(? as integer)`)
        const insert = prepareInsert(database, source)
        return open.map(({ id, eventId }) => {
          const copy = copyOf(toLetter(read.get(id) ?? {}).event, true)
          checkEvent(name, copy)
          resolve.run(id)
          return { eventId, newId: String(insert(copy, formatHeaders(copy.headers))) }
        })
      }),
    )
}
