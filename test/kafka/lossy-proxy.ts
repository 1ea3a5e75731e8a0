import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { Kafka } from 'kafkajs'
import { inject } from 'vitest'
import { kafkaFailFast } from '../../src/adapters/kafka/index.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'

/** Requests of Kafka's protocol that are made here. */
export const requests = {
  Produce: 0,
  Fetch: 1,
  ListOffsets: 2,
  Metadata: 3,
  OffsetCommit: 8,
  DescribeConfigs: 32,
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
  /** Closes those connections that have carried one of these requests, as a broker closes idle ones. Resolves when the client has, too. */
  close(request: keyof typeof requests): Promise<void>
  /** At the moment all stands still, as if the process did; what it has sent and been sent by then goes on with `goOn`. */
  standStillAt(moment: Moment): { goOn(): void }
  /** From now on each of these requests gets to the broker twice, and so do its replies to the client. */
  repeat(request: keyof typeof requests): void
  /** The next `times` replies to `FindCoordinator`, `InitProducerId` or `EndTxn` carry the error `code`. */
  refuse(request: 'FindCoordinator' | 'InitProducerId' | 'EndTxn', code: number, times: number): void
  /** From now on each request and each reply is under way for so long. */
  slow(ms: number): void
}

/** Of the replies that `refuse` changes: behind the length, the correlation id and the throttle time. */
const ERROR_CODE_AT = 12

/** Ends with the test. */
export async function lossyProxy(brokers: string = inject('servers').kafka.url): Promise<LossyProxy> {
  const [host, port] = brokers.split(':') as [string, string]
  const sockets = new Set<Socket>()
  const carried = new Map<Socket, Set<number>>() // request keys, by the client's side
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
  let held: (() => void)[] | undefined
  let delayMs = 0
  const repeated = new Set<number>() // request keys
  let refusal: { readonly key: number; readonly code: number; left: number } | undefined

  function deliver(socket: Socket, frame: Buffer): void {
    if (held !== undefined) held.push(() => deliver(socket, frame))
    else if (lost) return
    else if (delayMs > 0) setTimeout(() => socket.write(frame), delayMs)
    else socket.write(frame)
  }
  const server = createServer((client) => {
    const broker = connect(Number(port), host)
    const hit = new Set<number>() // correlation ids
    const refused = new Set<number>()
    const keys = new Set<number>()
    carried.set(client, keys)
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
        if (lost && held === undefined) return
        const key = frame.readInt16BE(4)
        keys.add(key)
        if (refusal?.key === key && refusal.left-- > 0) refused.add(frame.readInt32BE(8))
        if (
          held === undefined &&
          moment !== undefined &&
          frame.readInt16BE(4) === requests[moment.request] &&
          --left === 0
        ) {
          if (moment.at === 'reply') hit.add(frame.readInt32BE(8))
          else lose()
        }
        deliver(broker, frame)
        if (repeated.has(key)) deliver(broker, frame)
      }),
    )
    broker.on(
      'data',
      frames((frame) => {
        if (hit.delete(frame.readInt32BE(4))) lose()
        if (refused.has(frame.readInt32BE(4))) frame.writeInt16BE(refusal?.code ?? 0, ERROR_CODE_AT)
        deliver(client, frame)
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
    close: async (request) => {
      const closing = [...carried].filter(([client, keys]) => !client.destroyed && keys.has(requests[request]))
      await Promise.all(closing.map(([client]) => new Promise((resolve) => client.once('close', resolve).end())))
    },
    get lost() {
      return lost
    },
    standStillAt: (next) => {
      moment = next
      left = next.nth
      act = () => {
        held = []
      }
      return {
        goOn: () => {
          const frames = held ?? []
          held = undefined
          lost = false
          moment = undefined
          for (const send of frames) send()
        },
      }
    },
    repeat: (request) => void repeated.add(requests[request]),
    refuse: (request, code, times) => {
      refusal = { key: requests[request], code, left: times }
    },
    slow: (ms) => {
      delayMs = ms
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
