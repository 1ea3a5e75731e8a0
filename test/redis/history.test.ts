import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { describe, expect, test } from 'vitest'
import type { DecodeEntry } from '../../src/adapters/redis/codec.ts'
import { redisFailFast, redisStream } from '../../src/adapters/redis/index.ts'
import { codeOf } from '../../src/core/errors.ts'
import { checkHistory, formatHistory, type HistoryOperation, parseHistory } from '../../src/testing/history/index.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import { adapterClient, ownServer } from './fixture.ts'

const PRODUCERS = 3
const KILLS = 3

/** What producers and consumers saw of a stream whose server was killed under them; in the end one reader reads everything. */
async function recordHistory({
  appendonly,
  consumers,
}: {
  readonly appendonly: boolean
  readonly consumers: number
}): Promise<HistoryOperation[]> {
  const server = await ownServer({ redis: { appendonly } })
  const key = fresh('history')
  const history: HistoryOperation[] = []
  const done = new AbortController()

  async function produce(process: string): Promise<void> {
    for (let count = 0; !done.signal.aborted; ) {
      const client = new Redis(server.url, { ...redisFailFast, lazyConnect: true })
      client.on('error', () => {}) // seen where it is asked
      try {
        await client.connect()
        for (; !done.signal.aborted; count++) {
          const send = { kind: 'send', process } as const
          const value = `${process}-${count}`
          // The order of a process's operations is that of its calls: only one is under way.
          const offset = await client.xadd(key, '*', 'value', value).catch(() => undefined)
          if (offset) history.push({ ...send, outcome: 'ok', records: [{ partition: key, value, offset }] })
          else {
            history.push({ ...send, outcome: 'unknown', records: [{ partition: key, value }] })
            count++
            break
          }
          await sleep(1)
        }
      } catch {
        await sleep(20) // the server is down: nothing was sent
      } finally {
        client.disconnect()
      }
    }
  }

  async function consume(process: string, toHead: boolean): Promise<void> {
    const decode: DecodeEntry = ({ fields }) => {
      const foreignId = String(fields[0]?.[1])
      return { type: 1, foreignId, timestamp: 0, metadata: null, headers: {} }
    }
    const { stream } = redisStream(adapterClient(server.url), { key, decode, batchSize: 50 })
    for (let cursor = ''; !done.signal.aborted || toHead; ) {
      try {
        await using opened = await stream(cursor, { toHead, signal: toHead ? undefined : done.signal })
        history.push({ kind: 'assign', process, outcome: 'ok', partition: key, after: cursor })
        for await (const batch of opened) {
          const records = batch.events.map(({ id, foreignId }) => ({ partition: key, value: foreignId, offset: id }))
          if (records.length > 0) history.push({ kind: 'poll', process, outcome: 'ok', records })
          cursor = batch.cursor
        }
        if (toHead) return
      } catch (error) {
        if (done.signal.aborted && !toHead) return
        // A cursor that the log has lost is told; whoever goes on from the beginning says so.
        if (codeOf(error)?.startsWith('CURSOR_')) cursor = ''
        await sleep(20)
      }
    }
  }

  const clients = [
    ...Array.from({ length: PRODUCERS }, (_, i) => produce(`producer ${i}`)),
    ...Array.from({ length: consumers }, (_, i) => consume(`consumer ${i}`, false)),
  ]
  for (let kill = 0; kill < KILLS; kill++) {
    await sleep(150)
    await server.process.kill()
    await server.process.start()
  }
  await sleep(150)
  done.abort()
  await Promise.all(clients)
  await consume('last', true)
  return history
}

describe('what clients saw of a Redis stream whose server was killed three times', () => {
  test('is free of anomalies if the server writes its log', async () => {
    const history = await recordHistory({ appendonly: true, consumers: 2 })
    const sends = history.filter(({ kind }) => kind === 'send')
    expect(sends.length).toBeGreaterThan(50)
    const report = checkHistory(parseHistory(formatHistory(history)))
    expect(report.anomalies).toEqual([])
    expect(report.valid).toBe(true)
  })

  test('is found to have lost acknowledged writes if it does not', async () => {
    // Without consumers: what they had read would not be lost.
    const { valid, anomalies } = checkHistory(await recordHistory({ appendonly: false, consumers: 0 }))
    expect(valid).toBe(false)
    expect(anomalies.map(({ kind }) => kind)).toEqual(expect.arrayContaining(['lost-write']))
  })
})
