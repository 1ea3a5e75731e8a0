// The demo's application process: commits orders and their events, and rolls one transaction in ten back.
// Arguments: the database's URL, a name for its orders, how many to commit. Tells its parent how many it has committed.
import type { NewEvent } from '../../core/index.ts'
import { openOrderDatabase } from './order-database.ts'

const [url, prefix, count] = process.argv.slice(2)
if (url === undefined || prefix === undefined || count === undefined || process.send === undefined) {
  throw new Error('started by the demo, with a database URL, a prefix and a count')
}
const onDisconnect = (): never => process.exit(1) // the demo has gone
process.on('disconnect', onDisconnect)

const ORDERS_A_TRANSACTION = 10
const PLACED = 1
const PAID = 2

function eventOf(type: number, order: string): NewEvent {
  return { type, foreignId: order, metadata: Buffer.from(JSON.stringify({ order, note: 'x'.repeat(120) })) }
}

await using database = await openOrderDatabase(url)
let committed = 0
let unpaid: readonly string[] = []
for (let round = 1; committed < Number(count) || unpaid.length > 0; round++) {
  const size = Math.min(ORDERS_A_TRANSACTION, Number(count) - committed)
  const orders = Array.from({ length: size }, (_, i) => `${prefix}-${round}-${i}`)
  const commit = round % 10 !== 0
  await database.transaction({
    orders,
    events: [...unpaid.map((order) => eventOf(PAID, order)), ...orders.map((order) => eventOf(PLACED, order))],
    commit,
  })
  if (!commit) continue
  committed += orders.length
  unpaid = orders
  process.send({ committed })
}
process.off('disconnect', onDisconnect).disconnect()
