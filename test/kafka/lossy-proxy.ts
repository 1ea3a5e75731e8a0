import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Kafka } from 'kafkajs'
import { inject, onTestFinished } from 'vitest'
import { kafkaFailFast } from '../../src/adapters/kafka/index.ts'

/** The requests of Kafka's protocol that a sink makes. */
export const requests = {
  Produce: 0,
  Fetch: 1,
  ListOffsets: 2,
  Metadata: 3,
  FindCoordinator: 10,
  InitProducerId: 22,
  AddPartitionsToTxn: 24,
  EndTxn: 26,
} as const

/** A moment in what a client and the broker say to each other. */
export interface Moment {
  readonly request: keyof typeof requests
  /** Which of these requests it is, from 1 on. */
  readonly nth: number
  /** Before the request gets to the broker, or after it has replied: then what was asked for has happened. */
  readonly at: 'request' | 'reply'
}

/** A way to the broker on which, at a moment, all is lost that is under way and that follows. */
export interface LossyProxy {
  readonly client: Kafka
  /** Counted from now on. All connections break then, unless `then` does something else: they stay open and are silent. */
  loseAt(moment: Moment, then?: () => void): void
  /** Whether the moment has come. */
  readonly lost: boolean
}

/** Ends with the test. */
export async function lossyProxy(brokers: string = inject('servers').kafka.url): Promise<LossyProxy> {
  const [host, port] = brokers.split(':') as [string, string]
  const sockets = new Set<Socket>()
  let moment: Moment | undefined
  let left = 0
  let lost = false

  function breakAll(): void {
    for (const socket of sockets) socket.destroy()
  }
  let act = breakAll
  function lose(): void {
    lost = true
    act()
  }
  const server = createServer((client) => {
    const broker = connect(Number(port), host)
    const hit = new Set<number>() // correlation ids
    for (const socket of [client, broker]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        client.destroy()
        broker.destroy()
      })
    }
    if (lost) client.destroy()
    client.on(
      'data',
      frames((frame) => {
        if (lost) return
        if (moment !== undefined && frame.readInt16BE(4) === requests[moment.request] && --left === 0) {
          if (moment.at === 'request') return lose()
          hit.add(frame.readInt32BE(8))
        }
        broker.write(frame)
      }),
    )
    broker.on(
      'data',
      frames((frame) => {
        if (lost) return
        if (hit.has(frame.readInt32BE(4))) return lose()
        client.write(frame)
      }),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    breakAll()
    server.close()
  })
  const via = { host: '127.0.0.1', port: (server.address() as AddressInfo).port }
  // A broker tells clients its own address: this leads them here all the same.
  const socketFactory = ({ onConnect }: { onConnect: () => void }): Socket => connect(via, onConnect)
  return {
    client: new Kafka({ brokers: [brokers], ...kafkaFailFast, socketFactory }),
    loseAt: (next, then = breakAll) => {
      moment = next
      left = next.nth
      act = then
    },
    get lost() {
      return lost
    },
  }
}

/** Calls with whole frames: a length of four bytes, and as many bytes. */
function frames(take: (frame: Buffer) => void): (data: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0)
  return (data) => {
    rest = Buffer.concat([rest, data])
    while (rest.length >= 4 && rest.length >= 4 + rest.readInt32BE(0)) {
      const end = 4 + rest.readInt32BE(0)
      take(rest.subarray(0, end))
      rest = rest.subarray(end)
    }
  }
}
