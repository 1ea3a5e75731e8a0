import { getEventListeners } from 'node:events'
import fc from 'fast-check'
import { expect } from 'vitest'
import { type BridgeOptions, type BridgeSpec, bridge } from '../../src/bridge/bridge.ts'
import { parseCheckpoint } from '../../src/bridge/checkpoint.ts'
import {
  type Batch,
  type Clock,
  type Cursor,
  type CursorStore,
  codeOf,
  eventStream,
  memoryCursors,
  memoryLog,
  type Observer,
  type RunResult,
  type Sink,
  type Source,
  wireNames,
} from '../../src/core/index.ts'
import { type MemoryDestinationOptions, memoryDestination } from '../suites/memory-sink.ts'
import { within } from '../suites/reader.ts'

/** What is under test: `bridge`, or something that is worse. */
export type Pump = (spec: BridgeSpec, options: BridgeOptions) => Promise<RunResult>

/**
 * What goes wrong with one operation: reading the checkpoint, opening the sink or the source, a read, an append, a save.
 * A crash ends the process, which from then on has no effect any more. `late`: it fails, and takes effect at some later time.
 */
const faults = [
  'crash before',
  'crash after',
  'crash, late',
  'refused',
  'lost reply',
  'late',
  'abort before',
  'abort after',
] as const
type Fault = (typeof faults)[number]

/** One process that runs the bridge until it ends. */
interface Life {
  /** Which of its operations is hit; a life that is shorter has no fault. */
  readonly hit: number
  readonly fault: Fault
  /** Without it, the life is aborted after so many steps of the world. */
  readonly toHead: boolean
  readonly steps: number
}

/** What happens to the world meanwhile. */
type Happening =
  | { readonly what: 'append'; readonly positions: readonly (string | undefined)[] }
  | { readonly what: 'lose tail'; readonly count: number }
  | { readonly what: 'lose everything' }
  | { readonly what: 'reset checkpoint'; readonly back: number }
  | { readonly what: 'lose checkpoint' }
  | { readonly what: 'time passes' }

/** A route and its fate. */
export interface World {
  /** Positions of the source at the start: an event of that foreignId, or nothing. */
  readonly log: readonly (string | undefined)[]
  readonly batchSize: number
  readonly keeps: NonNullable<MemoryDestinationOptions['keeps']>
  readonly fromHead: boolean
  /** Processes one after the other; a second list is a second bridge of the same route, started by mistake. */
  readonly runners: readonly (readonly Life[])[]
  readonly happenings: readonly (Happening & { readonly after: number })[]
  readonly scheduler: fc.Scheduler
}

const positions = (maxLength: number): fc.Arbitrary<(string | undefined)[]> =>
  fc.array(fc.option(fc.constantFrom('a', 'b', 'c'), { nil: undefined, freq: 4 }), { maxLength })

const life: fc.Arbitrary<Life> = fc.record({
  hit: fc.integer({ min: 0, max: 24 }),
  fault: fc.constantFrom(...faults),
  toHead: fc.boolean(),
  steps: fc.integer({ min: 0, max: 40 }),
})

const happening: fc.Arbitrary<Happening & { readonly after: number }> = fc
  .tuple(
    fc.integer({ min: 0, max: 15 }),
    fc.oneof(
      { weight: 4, arbitrary: fc.record({ what: fc.constant('append' as const), positions: positions(5) }) },
      {
        weight: 2,
        arbitrary: fc.record({ what: fc.constant('lose tail' as const), count: fc.integer({ min: 1, max: 8 }) }),
      },
      { weight: 2, arbitrary: fc.record({ what: fc.constant('lose everything' as const) }) },
      fc.record({ what: fc.constant('reset checkpoint' as const), back: fc.integer({ min: 0, max: 5 }) }),
      fc.record({ what: fc.constant('lose checkpoint' as const) }),
      fc.record({ what: fc.constant('time passes' as const) }),
    ),
  )
  .map(([after, event]) => ({ ...event, after }))

/** Any route with any fate. */
export const world: fc.Arbitrary<World> = fc.record({
  log: positions(15),
  batchSize: fc.integer({ min: 1, max: 6 }),
  keeps: fc.constantFrom('position', 'events'),
  fromHead: fc.boolean(),
  runners: fc.array(fc.array(life, { maxLength: 5 }), { minLength: 1, maxLength: 2 }),
  happenings: fc.array(happening, { maxLength: 8 }),
  scheduler: fc.scheduler(),
})

/**
 * Lives through it, and then through one life without a fault. Throws as soon as something is lost, repeated or reordered in
 * the destination, or saved before it was appended; and at the end, unless the destination holds what the source does.
 */
export async function live(
  { log: start, batchSize, keeps, fromHead, runners, happenings, scheduler }: World,
  { pump = bridge, fences = true }: { pump?: Pump | undefined; fences?: boolean } = {},
): Promise<void> {
  const log = memoryLog({ batchSize })
  const wanted: string[] = []
  const grow = (more: readonly (string | undefined)[]): void => {
    for (const foreignId of more) {
      if (foreignId === undefined) log.skip()
      else wanted.push(...log.append({ type: 1, foreignId, timestamp: 0 }).map(({ id }) => id))
    }
  }
  grow(start)
  const destination = memoryDestination({ keeps, fences })
  const store = memoryCursors()
  const appended = new Set<string>() // whatever was lost since
  const savedBefore: string[] = []
  const starting = new Set<AbortController>() // processes that found no checkpoint and have saved none
  let pinned: number | undefined // where a route that starts from the head was durably started
  const broken = new Error('broken')
  const crash = new Error('crash')
  const sleepers = new Set<() => void>()
  const clock: Clock = {
    now: () => 0,
    yield: async () => {},
    sleep: (_ms, signal) =>
      new Promise((resolve, reject) => {
        sleepers.add(resolve)
        signal?.addEventListener('abort', () => {
          sleepers.delete(resolve)
          reject(signal.reason)
        })
      }),
  }
  const turn = (label: string): Promise<void> => scheduler.schedule(Promise.resolve(), label)
  const contents = (): string[] => destination.events.map(({ headers }) => headers[wireNames.sourceId] as string)

  const isDue = (id: string): boolean => !fromHead || (pinned !== undefined && Number(id) > pinned)

  // Not thrown where it is seen: a pump that swallows errors would swallow it.
  let violation: unknown
  const check = (expectations: () => void): void => {
    try {
      expectations()
    } catch (error) {
      violation ??= error
    }
  }
  /** Nothing in the destination is missing, repeated or out of order. */
  function checkDestination(): void {
    const found = contents()
    // What a route that starts from the head holds of the time before is of no concern, but it stands before the rest.
    const due = wanted.filter(isDue)
    const before = found.indexOf(due[0] ?? '')
    const rest = before < 0 ? [] : found.slice(before)
    expect(rest).toEqual(due.slice(0, rest.length))
    if (fromHead) expect(found).toEqual(wanted.filter((id) => found.includes(id)))
    else expect(rest).toEqual(found)
    for (const id of found) appended.add(id)
  }
  /** The checkpoint names nothing that was not appended. */
  function checkCheckpoint(text: string): void {
    const { cursor, mark } = parseCheckpoint('route', text) ?? { cursor: '', mark: '0' }
    if (!fromHead) for (const id of wanted) if (Number(id) <= position(cursor)) expect(appended).toContain(id)
    expect(Number.parseInt(mark, 10)).toBeLessThanOrEqual(appended.size)
  }

  async function run(plan: Life | undefined): Promise<void> {
    let operations = 0
    let dead = false
    let disturbed = false
    let unsaved = 0 // appends whose checkpoint is not saved
    let repair: string | undefined
    let told: string | undefined
    let opens = 0
    let closes = 0
    const controller = new AbortController()

    /** An operation takes time to get there and back, and may be the one that is hit. */
    async function operation<T>(label: string, effect: () => Promise<T>): Promise<T> {
      if (dead) throw crash
      const fault = plan?.hit === operations++ ? plan.fault : undefined
      if (fault !== undefined) disturbed = true
      if (fault === 'crash before' || fault === 'crash, late') dead = true
      if (fault === 'abort before') controller.abort()
      if (fault === 'crash before') throw crash
      if (fault === 'late' || fault === 'crash, late') {
        turn(`${label}, late`)
          .then(effect)
          .catch(() => {}) // whoever asked for it is no longer listening
        throw dead ? crash : broken
      }
      await turn(label)
      if (dead) throw crash
      if (fault === 'refused') throw broken
      const result = await effect()
      await turn(`reply to ${label}`)
      if (fault === 'crash after') dead = true
      if (fault === 'abort after') controller.abort()
      if (dead) throw crash
      if (fault === 'lost reply') throw broken
      return result
    }

    let read = ''
    const checkpoints: CursorStore = {
      ...store,
      get: (name) =>
        operation('get', async () => {
          read = await store.get(name)
          if (read === '') starting.add(controller)
          return read
        }),
      set: (name, checkpoint, expected) =>
        operation('save', async () => {
          await store.set(name, checkpoint, expected)
          check(() => checkCheckpoint(checkpoint))
          savedBefore.push(checkpoint)
          starting.delete(controller)
          pinned ??= position(parseCheckpoint(name, checkpoint)?.cursor ?? '')
        }).then(() => {
          unsaved = 0
        }),
    }
    const inner = destination.sink()
    const sink: Sink = {
      name: inner.name,
      open: async (options) => {
        check(() => expect(options.saved).toEqual(parseCheckpoint('route', read)))
        const writer = await operation('open sink', () => inner.open(options))
        opens++
        repair = writer.repair
        return {
          ...writer,
          append: async (events, cursor) => {
            const mark = await operation('append', async () => {
              const mark = await writer.append(events, cursor)
              if (keeps === 'position' && cursor !== '') pinned ??= position(cursor)
              check(checkDestination)
              return mark
            })
            if (events.length > 0) unsaved++
            return mark
          },
          [Symbol.asyncDispose]: async () => {
            closes++
            await writer[Symbol.asyncDispose]()
          },
        }
      },
    }
    const source: Source = {
      ...log.source,
      stream: async (after, options) => {
        const opened = await operation('open source', () => log.source.stream(after, { ...options, signal: undefined }))
        opens++
        async function* batches(): AsyncGenerator<Batch> {
          for await (const batch of opened) yield await operation('read', async () => batch)
        }
        const close = async (): Promise<void> => {
          closes++
          await opened[Symbol.asyncDispose]()
        }
        const { signal } = options
        return eventStream(batches(), close, { signal, ...(opened.incarnation && { incarnation: opened.incarnation }) })
      },
    }
    const toHead = plan?.toHead ?? true
    const end = async (): Promise<void> => {
      for (let step = plan?.steps ?? 0; step > 0; step--) await turn('wait')
      controller.abort()
    }
    const { signal } = controller
    const observer: Observer = {
      repaired: (text) => {
        told = text
      },
    }
    const spec: BridgeSpec = { name: 'route', source, sink, checkpoints }
    const running = pump(spec, { toHead, fromHead, signal, clock, observer }).then(
      (result) => ({ result, error: undefined }),
      (error: unknown) => ({ result: undefined, error }),
    )
    if (!toHead) await end()
    const { result, error } = await running
    starting.delete(controller)

    expect(closes).toBe(opens)
    if (!signal.aborted) expect(told).toBe(repair)
    expect(getEventListeners(signal, 'abort')).toEqual([])
    if (result !== undefined) {
      expect(result.reason).toBe(signal.aborted ? 'aborted' : 'head')
      // Ended in order: all that was appended is saved.
      if (!dead && result.error === undefined) expect(unsaved).toBe(0)
    } else if (!disturbed) {
      // Nothing else fails by itself, and only where others interfere.
      expect(['FENCED', 'CURSOR_CONFLICT', 'SINK_TAIL_CHANGED']).toContain(codeOf(error))
      expect(runners.length + happenings.length + runners.flat().length).toBeGreaterThan(1)
    }
  }

  async function happen(event: Happening & { readonly after: number }): Promise<void> {
    for (let step = event.after; step > 0; step--) await turn('wait')
    await turn(event.what)
    switch (event.what) {
      case 'append':
        return grow(event.positions)
      case 'lose tail':
        return void destination.events.splice(-event.count)
      case 'lose everything':
        // A route that starts from the head and has left no trace, or that was new a moment ago, starts from the new head.
        if (fromHead && (starting.size > 0 || (await store.get('route')) === '')) return
        return destination.wipe()
      case 'reset checkpoint': {
        const older = savedBefore.at(-1 - event.back)
        return older === undefined ? undefined : store.reset('route', older)
      }
      case 'lose checkpoint':
        return fromHead ? undefined : store.reset('route', '')
      case 'time passes':
        for (const wake of sleepers) wake()
        return sleepers.clear()
    }
  }

  const inOrder = async <T>(all: readonly T[], each: (one: T) => Promise<void>): Promise<void> => {
    for (const one of all) await each(one)
  }
  const limited = <T>(work: Promise<T>): Promise<T> => within(scheduler.waitFor(work), 5000, 'a schedule')
  await limited(Promise.all([...runners.map((lives) => inOrder(lives, run)), inOrder(happenings, happen)]))
  await scheduler.waitIdle()
  await limited(run(undefined))

  if (violation !== undefined) throw violation
  // Whatever happened: the destination is the source, and the checkpoint is at its head.
  checkDestination()
  expect(contents().filter(isDue)).toEqual(wanted.filter(isDue))
  const head = Number(await log.source.head?.())
  if (head > 0 || fromHead)
    expect(position(parseCheckpoint('route', await store.get('route'))?.cursor ?? '')).toBe(head)
}

function position(cursor: Cursor): number {
  return cursor === '' ? 0 : Number.parseInt(cursor, 10)
}
