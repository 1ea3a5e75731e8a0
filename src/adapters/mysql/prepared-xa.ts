import type { OwnConnection } from './own-connection.ts'
import type { Wait } from './wait.ts'

/**
 * Waits for the XA transactions that are prepared now. In MariaDB one whose session has ended holds no metadata lock, and
 * it is not known which tables it has written to. Needs no privilege there.
 */
export async function waitForPreparedXa(connection: OwnConnection, wait: Wait): Promise<void> {
  let first: ReadonlySet<string> | undefined
  await wait(async () => {
    const rows = await connection.rows('xa recover')
    const now = new Set(
      rows.map(([format, , , data]) => `${format}:${Buffer.from(data as Uint8Array).toString('hex')}`),
    )
    first ??= now
    const left = [...first].find((xid) => now.has(xid))
    return left && `the prepared XA transaction ${left} (XA RECOVER shows it; commit it or roll it back)`
  })
}
