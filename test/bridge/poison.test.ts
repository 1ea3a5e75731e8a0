import { describe, expect, test } from 'vitest'
import { type BridgeSpec, bridge } from '../../src/bridge/bridge.ts'
import { parseCheckpoint, type Skip } from '../../src/bridge/checkpoint.ts'
import { leasedLetters } from '../../src/bridge/leased-letters.ts'
import { readLog } from '../../src/bridge/route-log.ts'
import { skipEvent } from '../../src/bridge/skip-event.ts'
import {
  type CursorStore,
  type Event,
  errorKind,
  type MemoryLog,
  memoryCursors,
  memoryLog,
  type Observer,
  ReflexError,
  RunError,
  type Sink,
  wireNames,
} from '../../src/core/index.ts'
import { type SimulatedDestination, simulatedDestination } from '../../src/testing/simulation/simulated-destination.ts'
import { errorOf } from '../tools/reader.ts'
import { type MemoryDeadLetters, memoryDeadLetters } from './memory-dead-letters.ts'

const toHead = { toHead: true }
const because: Omit<Skip, 'eventId'> = { by: 'ada', at: 7, why: 'it is a test' }

interface Staged {
  readonly log: MemoryLog
  readonly destination: SimulatedDestination
  readonly spec: BridgeSpec
  readonly letters: MemoryDeadLetters
  /** The source ids in the destination. */
  sent(): string
  saved(): Promise<ReturnType<typeof parseCheckpoint>>
}

/** A route with an event per letter of `keys`; the transform throws at those with a capital one. */
function stage(keys: string, { batchSize = 100, diverts = false } = {}): Staged {
  const log = memoryLog({ batchSize })
  for (const key of keys) log.append({ type: 1, foreignId: key.toLowerCase(), timestamp: 0, headers: { key } })
  const destination = simulatedDestination({ maxBytes: 100 })
  const letters = memoryDeadLetters()
  const checkpoints = memoryCursors()
  const transform = (event: Event): Event => {
    if (/[A-Z]/.test(String(event.headers['key']))) throw new Error('no such customer')
    return event
  }
  return {
    ...{ log, destination, letters },
    spec: {
      ...{ name: 'r', source: log.source, sink: destination.sink(), checkpoints, transform },
      ...(diverts ? { deadLetters: letters } : {}),
    },
    sent: () => destination.events.map(({ headers }) => headers[wireNames.sourceId]).join(),
    saved: async () => parseCheckpoint('r', await checkpoints.get('r')),
  }
}

describe('an event that cannot be sent', () => {
  test('stops the route, which stands right before it: what was read with it is sent up to it', async () => {
    const { spec, sent, saved } = stage('abCd')
    const error = await errorOf(bridge(spec, toHead))
    expect(error).toMatchObject({ code: 'TRANSFORM_FAILED', kind: 'poison', stage: 'handle', eventId: '3' })
    expect(error).toBeInstanceOf(RunError)
    expect([sent(), (await saved())?.cursor]).toEqual(['1,2', '2@1'])
  })

  test.each([
    ['poison', { type: 1, foreignId: 'x', headers: { h: '\ud800' } }],
    ['oversize', { type: 1, foreignId: 'x', metadata: new Uint8Array(101) }],
  ] as const)('stops it as well when it is the destination that refuses it (%s)', async (kind, refused) => {
    const { spec, log, sent, saved } = stage('ab', { diverts: kind === 'oversize' })
    log.append(refused, { type: 1, foreignId: 'y' })
    const error = await errorOf(bridge(spec, toHead))
    expect([errorKind(error), (error as RunError).eventId]).toEqual([kind, '3'])
    expect([sent(), (await saved())?.cursor]).toEqual(['1,2', '2@1'])
  })

  test('is not the fault of the event when the transform is no transform', async () => {
    const { spec, letters } = stage('ab', { diverts: true })
    const error = await errorOf(bridge({ ...spec, transform: (async () => undefined) as never }, toHead))
    expect([errorKind(error), letters.letters]).toEqual(['fatal', []])
  })

  test('goes to the dead letters as the source has it, and holds back what follows of its foreignId', async () => {
    const { spec, letters, sent, saved } = stage('aBabA', { diverts: true })
    const told: unknown[] = []
    const observer: Observer = {
      passed: (event) => told.push([event.eventId, event.as]),
      progress: ({ handled, skipped }) => told.push([handled, skipped]),
    }
    await bridge(spec, { ...toHead, observer })
    expect([sent(), (await saved())?.cursor]).toEqual(['1,3', '5@1'])
    expect(letters.letters.map(({ eventId, message, event }) => [eventId, message, event.headers])).toEqual([
      ['2', 'the transform failed at event 2: no such customer', { key: 'B' }],
      ['4', 'event 4 waits for event 2, which is a dead letter of the same foreignId, "b"', { key: 'b' }],
      ['5', 'the transform failed at event 5: no such customer', { key: 'A' }],
    ])
    expect(told).toEqual([
      [1, 0],
      ['2', 'dead letter'],
      [1, 1],
      ['4', 'dead letter'],
      ['5', 'dead letter'],
      [0, 2],
    ])
  })

  test('holds nothing back any more once it has left the dead letters, while the bridge runs', async () => {
    const { spec, log, letters, sent } = stage('B', { diverts: true })
    const controller = new AbortController()
    const moved = { go: (): void => {} }
    const waited = (): Promise<void> => new Promise((resolve) => (moved.go = resolve))
    const running = bridge(spec, { signal: controller.signal, observer: { saved: () => moved.go() } })
    await waited()
    const held = waited()
    log.append({ type: 1, foreignId: 'b' })
    await held
    for (const { id } of letters.letters) await letters.resolve(id)
    const free = waited()
    log.append({ type: 1, foreignId: 'b' })
    await free
    controller.abort()
    await running
    expect([letters.letters.map(({ eventId }) => eventId).join(), sent()]).toEqual(['1,2', '3'])
  })

  test('has one letter, recorded once, when the process dies before the checkpoint', async () => {
    const { spec, letters, sent } = stage('Aa', { diverts: true })
    const open: Sink['open'] = async (to) => {
      const append = (): Promise<never> => Promise.reject(new Error('the process is dead'))
      return { ...(await spec.sink.open(to)), append }
    }
    await errorOf(bridge({ ...spec, sink: { ...spec.sink, open } }, toHead))
    await bridge(spec, toHead)
    expect(letters.letters.map(({ eventId, attempts }) => [eventId, attempts])).toEqual([
      ['1', 1],
      ['2', 1],
    ])
    expect(sent()).toBe('')
  })

  test('stops the route when its letter cannot be written, or when there are too many', async () => {
    const { spec, letters, saved } = stage('aBCd', { diverts: true })
    const refusing = { ...letters, record: () => Promise.reject(new Error('no dead letters')) }
    expect(await errorOf(bridge({ ...spec, deadLetters: refusing }, toHead))).toMatchObject({ eventId: '2' })
    expect((await saved())?.cursor).toBe('1@1')
    const error = await errorOf(bridge({ ...spec, maxDeadLetters: 1 }, toHead))
    expect(error).toMatchObject({ code: 'DEAD_LETTERS_FULL', kind: 'quota', eventId: '3' })
    expect(letters.letters).toHaveLength(1)
  })

  test('stands past the letters when there are too many, so that they can be dropped and the event can be skipped', async () => {
    const { spec, saved, sent } = stage('aBCDe', { diverts: true })
    const full = { ...spec, maxDeadLetters: 2 }
    expect(await errorOf(bridge(full, toHead))).toMatchObject({ code: 'DEAD_LETTERS_FULL', eventId: '4' })
    expect((await saved())?.cursor).toBe('3@1')
    await skipEvent(full, { ...because, eventId: '4' })
    await bridge(full, toHead)
    expect(sent()).toBe('1,5')
  })

  test.each([1, 100])(
    'goes on when letters are dropped while as many are open as may be (batches of %d)',
    async (batchSize) => {
      const { spec, letters, sent } = stage('AbCd', { diverts: true, batchSize })
      const drop = (): void => {
        for (const letter of letters.letters) if (letter.eventId === '1') letter.open = false
      }
      const sink: Sink = {
        ...spec.sink,
        open: async (o) => {
          const writer = await spec.sink.open(o)
          const append: typeof writer.append = async (events, next) => {
            if (events.some(({ id }) => id === '2')) drop()
            return await writer.append(events, next)
          }
          return { ...writer, append }
        },
      }
      await bridge({ ...spec, sink, maxDeadLetters: 1 }, toHead)
      expect(sent()).toBe('2,4')
      expect(letters.letters.map(({ eventId, open }) => [eventId, open])).toEqual([
        ['1', false],
        ['3', true],
      ])
    },
  )

  test('is not put there by a process that has lost its lease meanwhile: what another one has seen to stays closed', async () => {
    const { spec, letters } = stage('aBc', { diverts: true })
    await bridge(spec, toHead)
    for (const letter of letters.letters) letter.open = false
    const { spec: frozen } = stage('aBc')
    const check = (): never => {
      throw new ReflexError('LEASE_LOST', 'another process has it')
    }
    const error = await errorOf(bridge({ ...frozen, deadLetters: leasedLetters(letters, { check }) }, toHead))
    expect(error).toMatchObject({ code: 'LEASE_LOST', eventId: '2' })
    expect(letters.letters.map(({ open, attempts }) => [open, attempts])).toEqual([[false, 1]])
    await bridge({ ...frozen, deadLetters: leasedLetters(letters, { check: () => {} }) }, toHead)
    expect(letters.letters.map(({ open, attempts }) => [open, attempts])).toEqual([[true, 2]])
  })

  test('needs a source that can compare positions, where there are dead letters', async () => {
    const { spec } = stage('a', { diverts: true })
    const { compare: _, ...source } = spec.source
    expect(await errorOf(bridge({ ...spec, source }, toHead))).toMatchObject({ code: 'OPTION_INVALID' })
  })
})

describe('skipping', () => {
  test('goes past the event that the route stands at, and keeps who said so, when and why', async () => {
    const { spec, sent, saved } = stage('abCd')
    await errorOf(bridge(spec, toHead))
    const { repeated } = await skipEvent(spec, { ...because, eventId: '3' })
    const told: unknown[] = []
    await bridge(spec, { ...toHead, observer: { passed: (event) => told.push(event) } })
    expect([sent(), repeated]).toEqual(['1,2,4', false])
    expect(told).toEqual([{ eventId: '3', as: 'skipped', reason: 'ada: it is a test' }])
    expect(await saved()).toMatchObject({ cursor: '4@1', skips: [{ ...because, eventId: '3' }] })
  })

  test('goes past the first event of all, before there is a checkpoint', async () => {
    const { spec, sent } = stage('Abc')
    await errorOf(bridge(spec, toHead))
    await skipEvent(spec, { ...because, eventId: '1' })
    await bridge(spec, toHead)
    expect(sent()).toBe('2,3')
  })

  test('is remembered when the destination is refilled', async () => {
    const { spec, sent, destination } = stage('aBcd')
    await errorOf(bridge(spec, toHead))
    await skipEvent(spec, { ...because, eventId: '2' })
    await bridge(spec, toHead)
    destination.wipe()
    await bridge(spec, toHead)
    expect(sent()).toBe('1,3,4')
  })

  test('is safe to repeat: the first word stands, also when the route has gone on', async () => {
    const { spec } = stage('Ab')
    await skipEvent(spec, { ...because, eventId: '1' })
    const again = { ...because, eventId: '1', by: 'bob' }
    expect(await skipEvent(spec, again)).toEqual({ skip: { ...because, eventId: '1' }, repeated: true })
    await bridge(spec, toHead)
    expect(await skipEvent(spec, again)).toMatchObject({ repeated: true })
  })

  test('is refused for every other event, and says where the route stands', async () => {
    const { spec, saved } = stage('abCd')
    await errorOf(bridge(spec, toHead))
    const before = await saved()
    const refusal = async (eventId: string): Promise<unknown> => errorOf(skipEvent(spec, { ...because, eventId }))
    const refused = { code: 'SKIP_REFUSED', retriable: false }
    expect(await refusal('4')).toMatchObject({ ...refused, message: expect.stringContaining('stands at event 3') })
    expect(await refusal('2')).toMatchObject({ ...refused, message: expect.stringContaining('has gone past that one') })
    expect(await saved()).toEqual(before)
    await skipEvent(spec, { ...because, eventId: '3' })
    await bridge(spec, toHead)
    expect(await refusal('5')).toMatchObject({ ...refused, message: expect.stringContaining('no event follows') })
  })

  test('is refused when the route has gone on meanwhile', async () => {
    const { spec } = stage('ab')
    const { checkpoints } = spec
    const raced = {
      ...checkpoints,
      get: async (name: string) => {
        const stored = await checkpoints.get(name)
        await bridge(spec, toHead)
        return stored
      },
    }
    const error = await errorOf(skipEvent({ ...spec, checkpoints: raced }, { ...because, eventId: '1' }))
    expect(error).toMatchObject({ code: 'ROUTE_MOVED' })
  })

  /** A route that was let past so many events, one after the other. */
  const manySkipped = async (count: number) => {
    const route = stage('')
    for (let i = 1; i <= count; i++) {
      route.log.append({ type: 1, foreignId: 'x', headers: { key: 'X' } })
      await skipEvent(route.spec, { eventId: `${i}`, by: 'ada', at: i, why: `${'y'.repeat(1000)}` })
      await bridge(route.spec, toHead)
    }
    return route
  }

  test('forgets none of the records, and stores no more in one place than a cursor store surely holds', async () => {
    const { spec } = await manySkipped(50)
    const stored = await spec.checkpoints.list?.()
    expect(Math.max(...[...(stored?.values() ?? [])].map(({ length }) => length))).toBeLessThan(4096)
    const checkpoint = parseCheckpoint('r', stored?.get('r') ?? '')
    expect(checkpoint?.skips?.map(({ eventId }) => eventId)).toEqual(['50'])
    const logged = await readLog({ ...spec, checkpoint: checkpoint ?? {} })
    expect(logged.map(({ skip }) => skip?.eventId)).toEqual(Array.from({ length: 49 }, (_, i) => `${i + 1}`))
    expect(logged[0]?.skip).toEqual({ eventId: '1', by: 'ada', at: 1, why: 'y'.repeat(200) })
    const again = await skipEvent(spec, { ...because, eventId: '1' })
    expect(again).toMatchObject({ repeated: true, skip: { by: 'ada', at: 1 } })
  })

  test('is remembered when the destination is refilled, however many have followed', async () => {
    const { spec, sent, log, destination } = await manySkipped(30)
    log.append({ type: 1, foreignId: 'x', headers: { key: 'a' } })
    await bridge(spec, toHead)
    destination.wipe()
    await bridge(spec, toHead)
    expect(sent()).toBe('31')
  })

  test('whose record moves into the log is never without one, wherever the command ends', async () => {
    for (let survives = 0; ; survives++) {
      const { spec, log } = await manySkipped(3)
      log.append({ type: 1, foreignId: 'x', headers: { key: 'X' } })
      let writes = 0
      const killed: CursorStore = {
        ...spec.checkpoints,
        set: async (...args) => {
          if (writes++ === survives) throw new Error('killed')
          await spec.checkpoints.set(...args)
        },
      }
      const next = { ...because, eventId: '4' }
      const ended = await skipEvent({ ...spec, checkpoints: killed }, next).catch(() => 'killed')
      const known = async (): Promise<unknown[]> => {
        const checkpoint = parseCheckpoint('r', await spec.checkpoints.get('r')) ?? { cursor: '', mark: '', start: '' }
        const logged = (await readLog({ ...spec, checkpoint })).flatMap(({ skip }) => skip ?? [])
        return [...logged, ...(checkpoint.skips ?? [])].map(({ eventId }) => eventId)
      }
      expect((await known()).slice(0, 3)).toEqual(['1', '2', '3'])
      await skipEvent(spec, next) // safe to repeat
      expect(await known()).toEqual(['1', '2', '3', '4'])
      if (ended !== 'killed') break
    }
  })
})
