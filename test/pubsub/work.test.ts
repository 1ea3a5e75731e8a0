import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, inject, it } from 'vitest'
import {
  jetstreamWork,
  type Work,
  type WorkConsumer,
  type WorkLetter,
  type WorkOptions,
} from '../../src/adapters/jetstream/index.ts'
import { appendTo, clientNames, connector, ownServer, testAdmin } from '../jetstream/fixture.ts'
import { fresh } from '../subjects/adapter-subjects.ts'
import type { NatsAdmin } from '../subjects/nats-admin.ts'
import { onTestFinished } from '../tools/on-test-finished.ts'
import { taker } from '../tools/taker.ts'

interface Setting {
  readonly admin: NatsAdmin
  readonly stream: string
  /** Publishes events of these foreignIds. */
  publish(...foreignIds: readonly string[]): Promise<void>
  open(options?: Partial<WorkOptions>): Promise<WorkConsumer>
}

async function setting(client: (typeof clientNames)[number] = '@nats-io v3', config: object = {}): Promise<Setting> {
  const admin = await testAdmin()
  const stream = fresh('work')
  await admin.createStream(stream, config)
  return {
    admin,
    stream,
    publish: async (...foreignIds) =>
      void (await appendTo(
        admin,
        stream,
        foreignIds.map((foreignId) => ({ type: 1, foreignId })),
      )),
    open: async (options = {}) => {
      const consumer = await jetstreamWork({ connect: connector(client), stream, from: 'start', ...options })
      onTestFinished(() => consumer.close().catch(() => {}))
      return consumer
    },
  }
}

interface ConsumerInfo {
  readonly num_pending: number
  readonly num_ack_pending: number
  readonly num_redelivered: number
}
const infoOf = ({ admin, stream }: Setting, name: string): Promise<ConsumerInfo> =>
  admin.api<ConsumerInfo>(`CONSUMER.INFO.${stream}.${name}`)

describe.concurrent.each(clientNames)('work of a stream, with %s', (client) => {
  it('comes until it is acknowledged, and says how often it has come', async () => {
    const s = await setting(client)
    await s.publish('a', 'b')
    const consumer = await s.open({ name: 'all' })
    const take = taker(consumer)
    const [a, b] = [await take(), await take()]
    expect([a, b].map(({ event, attempt }) => [event.foreignId, attempt])).toEqual([
      ['a', 1],
      ['b', 1],
    ])
    await a.ack({ double: true })
    expect(await infoOf(s, 'all')).toMatchObject({ num_ack_pending: 1, num_pending: 0 })
    await expect(a.ack()).rejects.toMatchObject({ code: 'WORK_SETTLED' })
    await b.reject()
    const again = await take()
    expect([again.event.foreignId, again.attempt, again.subject]).toEqual(['b', 2, b.subject])
    await again.reject({ decide: (attempt) => (attempt === 2 ? 1 : undefined) })
    const third = await take()
    expect(third.attempt).toBe(3)
    await third.reject({ forGood: true })
    expect(await infoOf(s, 'all')).toMatchObject({ num_ack_pending: 0, num_pending: 0 })
  })

  // windshift's `for event := range events` stood for ever after a cancel: nobody closed the channel.
  it('ends its iteration when it is closed, or its signal aborts', async () => {
    const s = await setting(client)
    const ending = new AbortController()
    for (const end of [(one: WorkConsumer) => one.close(), async () => ending.abort()]) {
      const consumer = await s.open({ signal: ending.signal })
      const reading = (async () => {
        for await (const _ of consumer) expect.fail('there is nothing')
      })()
      await end(consumer)
      await reading
      await consumer.close()
    }
  })
})

describe.concurrent('work of a stream', () => {
  // windshift's AtStreamEnd was DeliverLast, which delivers the newest message that is there already.
  it('that begins at the end is that which comes from then on, and no other', async () => {
    const s = await setting()
    await s.publish('before')
    const consumer = await s.open({ from: 'end' })
    await s.publish('after')
    expect((await taker(consumer)()).event.foreignId).toBe('after')
  })

  it('begins at a sequence, at a time, and goes on where it was', async () => {
    const s = await setting()
    await s.publish('a', 'b')
    await sleep(2)
    const time = Date.now()
    await sleep(2)
    await s.publish('c')
    const firsts = await Promise.all(
      [{ sequence: 2n }, { time }].map(async (from) => (await taker(await s.open({ from }))()).event.foreignId),
    )
    expect(firsts).toEqual(['b', 'c'])
    const first = await s.open({ name: 'kept', maxPending: 1 })
    await (await taker(first)()).ack({ double: true })
    await first.close()
    await expect(first.unsubscribe()).rejects.toThrow(/the consumer kept is still on the server/)
    const second = await s.open({ name: 'kept', from: 'end' }) // where a new one would begin
    expect((await taker(second)()).event.foreignId).toBe('b')
    await second.unsubscribe()
    await expect(infoOf(s, 'kept')).rejects.toThrow()
  })

  it('is shared by all of one name, each message by one', async () => {
    const s = await setting('nats 2.29', { retention: 'workqueue' })
    const consumers = await Promise.all([1, 2].map(() => s.open({ name: 'shared', maxPending: 2 })))
    const got: string[] = []
    const working = consumers.map(async (consumer) => {
      for await (const { event, ack } of consumer) {
        got.push(event.foreignId)
        await ack({ double: true })
      }
    })
    const all = Array.from({ length: 20 }, (_, i) => `m${i}`)
    await s.publish(...all)
    while (got.length < 20) await sleep(5)
    await Promise.all(consumers.map((consumer) => consumer.close()))
    await Promise.all(working)
    expect(got.toSorted()).toEqual(all.toSorted())
    expect((await s.admin.info(s.stream)).state.messages).toBe(0)
  })

  it('is given back at once when its consumer is closed, taken or not, and its signal says so', async () => {
    const s = await setting()
    await s.publish('a', 'b', 'c')
    const first = await s.open({ name: 'handed' })
    const taken = await taker(first)()
    while ((await infoOf(s, 'handed')).num_ack_pending < 3) await sleep(5)
    await first.close()
    expect(taken.signal.aborted).toBe(true)
    await expect(taken.ack()).rejects.toMatchObject({ code: 'WORK_LOST' })
    const take = taker(await s.open({ name: 'handed' }))
    const all = [await take(), await take(), await take()]
    expect(all.map(({ event }) => event.foreignId).toSorted()).toEqual(['a', 'b', 'c'])
    expect(all.map(({ attempt }) => attempt)).toEqual([2, 2, 2])
  })

  it('that was taken is waited for, if closing is told to', async () => {
    const s = await setting()
    await s.publish('a')
    const consumer = await s.open({ name: 'drained' })
    const work = await taker(consumer)()
    const closing = consumer.close({ drainMs: 60_000 })
    await sleep(20)
    expect(work.signal.aborted).toBe(false)
    await work.ack()
    await closing
    expect(await infoOf(s, 'drained')).toMatchObject({ num_ack_pending: 0, num_pending: 0 })
  })

  it('that takes longer than the processing timeout is kept by pings, or else comes to another and is lost to this one', async () => {
    const s = await setting()
    await s.publish('a')
    const pinging = await s.open({ name: 'pinging', processingTimeoutMs: 300 })
    const kept = await taker(pinging)()
    const silent = await s.open({ name: 'silent', processingTimeoutMs: 300, autoPing: false })
    const take = taker(silent)
    const first = await take()
    await sleep(150)
    await first.ping()
    await once(first.signal, 'abort')
    await expect(first.ack()).rejects.toMatchObject({ code: 'WORK_LOST' })
    const second = await take()
    expect(second.attempt).toBe(2)
    await second.ack({ double: true })
    await sleep(300)
    expect(kept.signal.aborted).toBe(false)
    expect(await infoOf(s, 'pinging')).toMatchObject({ num_ack_pending: 1, num_redelivered: 0 })
    await kept.ack({ double: true })
    expect(await infoOf(s, 'pinging')).toMatchObject({ num_ack_pending: 0, num_pending: 0 })
  })

  // windshift terminated what it could not decode without a word.
  it('that cannot be decoded ends the consumer, or is recorded and never comes again', async () => {
    const s = await setting()
    const bad = Buffer.from('NATS/1.0\r\nreflex-type: x\r\nreflex-foreign-id: f\r\nreflex-timestamp: 0\r\n\r\n')
    await s.admin.publish(`${s.stream}.1`, 'data', bad)
    await s.publish('good')
    const strict = await s.open({ name: 'decoded' })
    await expect(taker(strict)()).rejects.toMatchObject({ code: 'EVENT_UNDECODABLE' })
    await strict.close()
    const letters: WorkLetter[] = []
    const recording = await s.open({ name: 'recorded', deadLetter: (letter) => void letters.push(letter) })
    const good = await taker(recording)()
    await good.ack({ double: true })
    expect(good.event.foreignId).toBe('good')
    while ((await infoOf(s, 'recorded')).num_ack_pending > 0) await sleep(5)
    expect(letters).toMatchObject([
      { reason: 'undecodable', attempt: 1, message: { id: '1', data: Buffer.from('data') } },
    ])
  })

  it('that comes too often, or is rejected for good, goes to the dead letters; one that cannot be recorded comes again', async () => {
    const s = await setting()
    await s.publish('a', 'b')
    const letters: WorkLetter[] = []
    let broken = true
    const deadLetter = (letter: WorkLetter): void => {
      if (broken) throw new Error('no room')
      letters.push(letter)
    }
    const failing = await s.open({ name: 'buried', maxDeliveries: 2, deadLetter })
    const refused = await taker(failing)()
    await expect(refused.reject({ forGood: true })).rejects.toThrow('no room')
    await failing.close()
    broken = false
    const take = taker(await s.open({ name: 'buried', maxDeliveries: 2, deadLetter }))
    for (const work of [await take(), await take()])
      await work.reject(work.event.foreignId === 'a' ? {} : { forGood: true })
    while (letters.length < 2) await sleep(5)
    expect(letters.map(({ reason, message }) => [message.id, reason]).toSorted()).toEqual([
      ['1', 'too many deliveries'],
      ['2', 'rejected'],
    ])
    await expect(s.open({ name: 'x', maxDeliveries: 2 })).rejects.toThrow(/needs deadLetter/)
  })

  it('refuses a consumer that cannot be shared, and brings one that is there to what is asked for', async () => {
    const s = await setting()
    await s.admin.api(`CONSUMER.DURABLE.CREATE.${s.stream}.none`, {
      stream_name: s.stream,
      config: { durable_name: 'none', ack_policy: 'none' },
    })
    await expect(s.open({ name: 'none' })).rejects.toThrow(/expected a pull consumer with ack_policy explicit/)
    await (await s.open({ name: 'changed', processingTimeoutMs: 1000, subjects: [`${s.stream}.>`] })).close()
    await (
      await s.open({ name: 'changed', processingTimeoutMs: 2000, maxAckPending: 7, subjects: [`${s.stream}.>`] })
    ).close()
    const { config } = await s.admin.api<{ config: object }>(`CONSUMER.INFO.${s.stream}.changed`)
    expect(config).toMatchObject({ ack_wait: 2e9, max_ack_pending: 7, filter_subject: `${s.stream}.>` })
  })

  it('is given back when its consumer has failed and is closed, and its consumer is removed if that is wanted', async () => {
    const s = await setting()
    await s.publish('a')
    const failing = await s.open({ name: 'failing', processingTimeoutMs: 3_600_000 })
    const take = taker(failing)
    const held = await take()
    await s.admin.publish(
      `${s.stream}.1`,
      'data',
      Buffer.from('NATS/1.0\r\nreflex-type: x\r\nreflex-foreign-id: f\r\nreflex-timestamp: 0\r\n\r\n'),
    )
    await expect(take()).rejects.toMatchObject({ code: 'EVENT_UNDECODABLE' })
    expect(held.signal.aborted).toBe(true)
    await failing.close()
    const again = await s.open({ name: 'failing', processingTimeoutMs: 3_600_000, maxPending: 1 })
    expect((await taker(again)()).attempt).toBe(2) // not after the processing timeout
    await again.unsubscribe()
    await expect(infoOf(s, 'failing')).rejects.toThrow()
  })

  it('whose dead letter cannot be recorded in time is lost, as any other', async () => {
    const s = await setting()
    await s.publish('a')
    const recording = Promise.withResolvers<void>()
    const consumer = await s.open({
      ...{ name: 'slow', processingTimeoutMs: 200, autoPing: false },
      deadLetter: () => recording.promise,
    })
    const work = await taker(consumer)()
    const rejecting = expect(work.reject({ forGood: true })).rejects.toThrow('no room')
    await sleep(400)
    recording.reject(new Error('no room'))
    await rejecting
    expect(work.signal.aborted).toBe(true)
    await expect(work.ack()).rejects.toMatchObject({ code: 'WORK_LOST' })
  })

  it('is lost when the server is, which is noticed: killed or frozen', async () => {
    const server = await ownServer()
    const admin = await testAdmin(server.url)
    await admin.createStream('W')
    await appendTo(admin, 'W', [{ type: 1, foreignId: 'a' }])
    const open = (): Promise<WorkConsumer> =>
      jetstreamWork({ connect: connector('@nats-io v3', server.url), stream: 'W', from: 'start' })
    const frozen = await open()
    const take = taker(frozen)
    const work = await take()
    server.process.freeze()
    await expect(take()).rejects.toMatchObject({ code: 'NATS_CONNECTION' })
    expect(work.signal.aborted).toBe(true)
    await frozen.close()
    server.process.thaw()
    const closed = await open()
    server.process.freeze()
    const closing = performance.now()
    await closed.close()
    expect(performance.now() - closing).toBeLessThan(5000)
    server.process.thaw()
    const killed = await open()
    const next = taker(killed)
    await next()
    const reading = expect(next()).rejects.toMatchObject({ code: 'NATS_CONNECTION' })
    await server.process.kill()
    await reading
    await killed.close()
  })

  it('is settled as the model says, through every mix of ack, reject, ping and reopening', async () => {
    const s = await setting()
    let round = 0
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.constantFrom('ack', 'double', 'reject', 'later', 'for good', 'ping', 'hold', 'reopen'), {
          maxLength: 16,
        }),
        async (count, maxPending, plan) => {
          const prefix = `r${round++}`
          const name = prefix
          const { last_seq: before } = (await s.admin.info(s.stream)).state
          await s.publish(...Array.from({ length: count }, (_, i) => `${prefix}-${i}`))
          const open = (): Promise<WorkConsumer> => s.open({ name, maxPending, from: { sequence: before + 1 } })
          let consumer = await open()
          let take = taker(consumer)
          const attempts = new Map<string, number>()
          const done = new Map<string, 'acked' | 'dropped'>()
          let holding: Work[] = []
          for (const step of [...plan, 'reopen']) {
            if (step === 'reopen') {
              await consumer.close()
              for (const each of holding) expect(each.signal.aborted).toBe(true)
              holding = []
              consumer = await open()
              take = taker(consumer)
              continue
            }
            if (done.size + holding.length === count) continue
            if (holding.length === maxPending) {
              const [first] = holding
              holding = holding.slice(1)
              await first?.reject()
              continue
            }
            const work = await take()
            const id = work.event.foreignId
            expect(done.has(id), 'what is done does not come again').toBe(false)
            expect(
              holding.some(({ event }) => event.foreignId === id),
              'nor what is held',
            ).toBe(false)
            expect(work.attempt).toBeGreaterThan(attempts.get(id) ?? 0)
            attempts.set(id, work.attempt)
            if (step === 'hold') holding.push(work)
            else if (step === 'ack' || step === 'double') {
              await work.ack({ double: step === 'double' })
              done.set(id, 'acked')
            } else if (step === 'for good') {
              await work.reject({ forGood: true })
              done.set(id, 'dropped')
            } else {
              if (step === 'ping') await work.ping()
              await work.reject(step === 'later' ? { delayMs: 1 } : {})
            }
          }
          while (done.size < count) {
            const work = await take()
            expect(done.has(work.event.foreignId)).toBe(false)
            await work.ack({ double: true })
            done.set(work.event.foreignId, 'acked')
          }
          await consumer.close()
          expect(await infoOf(s, name)).toMatchObject({ num_ack_pending: 0, num_pending: 0 })
        },
      ),
      { numRuns: 5, interruptAfterTimeLimit: 4000 },
    )
  })
})

describe('options of work', () => {
  it('that are durations are taken up to the longest that can be counted, and fractions of ms too', async () => {
    const s = await setting()
    await s.publish('a')
    const consumer = await s.open({ name: 'long', processingTimeoutMs: 2 ** 31 - 1, inactiveMs: 9e12, autoPing: false })
    const take = taker(consumer)
    const work = await take()
    await sleep(20)
    expect(work.signal.aborted).toBe(false)
    for (const delayMs of [Number.POSITIVE_INFINITY, 1e13, -1, Number.NaN])
      await expect(work.reject({ delayMs })).rejects.toThrow(/comes again must be from 0 to 9000000000000 ms/)
    for (const drainMs of [2 ** 31, Number.POSITIVE_INFINITY, Number.NaN, -1])
      await expect(consumer.close({ drainMs })).rejects.toThrow(/drainMs must be from 0 to 2147483647 ms/)
    await work.reject({ delayMs: 0.0000001 })
    expect((await take()).attempt).toBe(2)
    await consumer.close()
    await (await s.open({ name: 'short', processingTimeoutMs: 100.0000001, inactiveMs: 5000.5 })).close()
  })

  const connect = connector('@nats-io v3', inject('servers').nats.url)
  it.each<[Partial<WorkOptions>, RegExp]>([
    [{ processingTimeoutMs: 1 }, /processingTimeoutMs must be from 100 to/],
    [{ processingTimeoutMs: 2 ** 31, autoPing: false }, /processingTimeoutMs must be from 100 to 2147483647 ms/],
    [{ processingTimeoutMs: Number.POSITIVE_INFINITY }, /processingTimeoutMs must be from 100 to/],
    [{ processingTimeoutMs: Number.NaN }, /processingTimeoutMs must be from 100 to/],
    [{ inactiveMs: 1e13 }, /inactiveMs must be from 1 to/],
    [{ inactiveMs: Number.POSITIVE_INFINITY }, /inactiveMs must be from 1 to/],
    [{ from: { time: 1e300 } }, /from must be/],
    [{ from: { time: -1 } }, /from must be/],
    [{ maxPending: 0 }, /maxPending must be a positive integer/],
    [{ from: { sequence: 0 } }, /from must be/],
    [{ from: 'last' as never }, /from must be/],
    [{ subjects: [] }, /subjects must be a list/],
    [{ name: 'a.b' }, /name must be a name without/],
  ])('are refused: %j', async (options, message) => {
    const s = await setting()
    await expect(jetstreamWork({ connect, stream: s.stream, ...options })).rejects.toThrow(message)
  })
})
