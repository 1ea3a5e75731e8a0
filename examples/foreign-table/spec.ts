import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import type { SourceSubject } from 'reflex-bridge/testing'
import { auditLog } from './foreign-table.ts'
import { kinds, openShop, TABLE } from './shop.ts'

/** A fresh database, and what its owner can do to it. */
export function create(): SourceSubject {
  const folder = mkdtempSync(`${tmpdir()}/foreign-table-`)
  const path = `${folder}/shop.db`
  const { database, write } = openShop(path)
  return {
    source: auditLog(path, { kinds, pageSize: 3, pollMs: 5 }),
    malformed: ['01', '+1', '1.0'],
    append: async (events) => write(events),
    corrupt: async () => database.exec("insert into audit_log (at, kind) values ('yesterday', 'created')"),
    trim: async (id) => database.exec(`delete from audit_log where seq < ${id}`),
    remove: async (id) => database.exec(`delete from audit_log where seq = ${id}`),
    rewind: async (id) =>
      database.exec(`delete from audit_log where seq > ${id}; update sqlite_sequence set seq = ${id}`),
    recreate: async () => database.exec(`drop table audit_log; ${TABLE}`),
    [Symbol.asyncDispose]: async () => {
      database.close()
      rmSync(folder, { recursive: true })
    },
  }
}
