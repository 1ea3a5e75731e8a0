import { type Child, endChild, startChild } from './child.ts'

/** The processes that commit orders. They do so in parts, and wait at the end of each but the last. */
export interface OrderWriters extends AsyncDisposable {
  readonly children: readonly Child[]
  committedOrders(): number
  /** All of them are at the end of a part. */
  wait(): boolean
  /** They have committed everything and ended. */
  done(): boolean
  /** Those that wait begin their next part. */
  goOn(): void
}

const WRITERS = 2

/** Starts the processes, which together commit so many `orders` to the database. Disposing kills them. */
export function startOrderWriters(
  databaseUrl: string,
  { orders, parts }: { readonly orders: number; readonly parts: number },
): OrderWriters {
  const waiting = new Set<Child>()
  let committedOrders = 0
  const children = Array.from({ length: WRITERS }, (_, i) => {
    const count = Math.floor(orders / WRITERS) + (i < orders % WRITERS ? 1 : 0)
    const child = startChild('writer', databaseUrl, `w${i + 1}`, String(count), String(parts))
    let told = 0
    child.process.on('message', ({ committed, partEnded }: { committed: number; partEnded: boolean }) => {
      committedOrders += committed - told
      told = committed
      if (partEnded) waiting.add(child)
    })
    return child
  })
  const ended = ({ process }: Child): boolean => process.exitCode === 0
  return {
    children,
    committedOrders: () => committedOrders,
    wait: () => children.every((child) => waiting.has(child) || ended(child)),
    done: () => children.every(ended),
    goOn: () => {
      for (const child of waiting) child.process.send('go on')
      waiting.clear()
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(children.map((child) => endChild(child, 'SIGKILL')))
    },
  }
}
