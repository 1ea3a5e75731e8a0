// The demo's application process: commits orders and their events, and rolls one transaction in ten back.
// Arguments: the database's URL, a name for its orders, how many to commit, and in how many parts. Tells its parent how many it
// has committed; at the end of each part but the last it waits until it is told to go on.
import { once } from 'node:events'
import type { NewEvent } from '../../core/index.ts'
import { openOrderDatabase } from './order-database.ts'

const [url, prefix, ...numbers] = process.argv.slice(2)
const [count, parts] = numbers.map(Number)
if (
  url === undefined ||
  prefix === undefined ||
  count === undefined ||
  parts === undefined ||
  process.send === undefined
) {
  throw new Error('started by the demo, with a database URL, a prefix, a count and a number of parts')
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
let part = 1

async function endPart(): Promise<void> {
  process.send?.({ committed, partEnded: true })
  part++
  await once(process, 'message')
}

let unpaid: readonly string[] = []
for (let round = 1; committed < count || unpaid.length > 0; round++) {
  const size = Math.min(ORDERS_A_TRANSACTION, count - committed)
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
  if (part < parts && committed >= (count * part) / parts) await endPart()
  else process.send({ committed, partEnded: false })
}
while (part < parts) await endPart() // there were fewer orders than parts
process.off('disconnect', onDisconnect).disconnect()
