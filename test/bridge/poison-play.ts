import fc from 'fast-check'
import { type BridgeSpec, bridge } from '../../src/bridge/bridge.ts'
import { parseCheckpoint } from '../../src/bridge/checkpoint.ts'
import type { DeadLetters } from '../../src/bridge/dead-letters.ts'
import { skipEvent } from '../../src/bridge/skip-event.ts'
import {
  type Event,
  errorKind,
  memoryCursors,
  memoryLog,
  ReflexError,
  RunError,
  type Sink,
  wireNames,
} from '../../src/core/index.ts'
import { simulatedDestination } from '../../src/testing/simulation/simulated-destination.ts'
import { memoryDeadLetters } from './memory-dead-letters.ts'

/** What an event is like: the transform leaves one out and throws at one, and makes the one that is too large small in the end. */
type Nature = 'good' | 'left out' | 'throws' | 'cannot be held' | 'too large'

/** What happens to a process that runs to the head, at which call of which operation. */
interface Life {
  readonly at: Operation
  readonly nth: number
  /** Dead before, or after, it took effect; or it fails with an error, having had no effect, or one. */
  readonly fault: 'none' | 'dies before' | 'dies after' | 'fails' | 'fails after'
  readonly error: (typeof errors)[number]
  /** What happens once the process has ended. */
  readonly next: 'nothing' | 'skip' | 'resolve' | 'mend' | 'lose tail' | 'wipe'
}

type Operation = 'get' | 'save' | 'open' | 'append' | 'list' | 'record'

/** A schedule. */
export interface Fate {
  readonly events: readonly { readonly key: string; readonly nature: Nature }[]
  readonly keeps: 'position' | 'events'
  readonly batch: number
  readonly lives: readonly Life[]
}

/** Wraps the parts of a process, to break something. */
export interface Flaws {
  readonly sink?: (sink: Sink) => Sink
  readonly deadLetters?: (letters: DeadLetters) => DeadLetters
}

const natures: readonly Nature[] = ['good', 'left out', 'throws', 'cannot be held', 'too large']
const operations: readonly Operation[] = ['get', 'save', 'open', 'append', 'list', 'record']
const faults: readonly Life['fault'][] = ['none', 'dies before', 'dies after', 'fails', 'fails after']
const nexts: readonly Life['next'][] = ['nothing', 'skip', 'resolve', 'mend', 'lose tail', 'wipe']
const errors = ['retriable', 'fatal', 'auth', 'quota', 'read-only', 'fenced'] as const

/** Schedules of any kind. */
export const fates: fc.Arbitrary<Fate> = fc.record({
  events: fc.array(
    fc.record({
      key: fc.constantFrom('a', 'b', 'c'),
      nature: fc.oneof({ weight: 3, arbitrary: fc.constant<Nature>('good') }, fc.constantFrom(...natures)),
    }),
    { minLength: 1, maxLength: 10, size: 'max' },
  ),
  keeps: fc.constantFrom('position', 'events'),
  batch: fc.integer({ min: 1, max: 6 }),
  lives: fc.array(
    fc.record({
      at: fc.constantFrom(...operations),
      nth: fc.nat(3),
      fault: fc.constantFrom(...faults),
      error: fc.constantFrom(...errors),
      next: fc.constantFrom(...nexts),
    }),
    { maxLength: 6, size: 'max' },
  ),
})

/** A process that nothing happens to. */
const calm: Life = { at: 'get', nth: 0, fault: 'none', error: 'retriable', next: 'nothing' }
const MAX_BYTES = 100
const DEAD = new Error('the process is dead')

/** What a schedule came to. */
export interface Played {
  readonly delivered: number
  readonly putAside: number
  readonly skipped: number
  /** Right before an event, which cannot be sent, at the end. */
  readonly stands: boolean
}

/** Plays a schedule on a simulated route, and throws as soon as something is wrong: at each end of a process, and at the end. */
export async function playFate(
  fate: Fate,
  { diverts, flaws = {} }: { diverts: boolean; flaws?: Flaws },
): Promise<Played> {
  const log = memoryLog({ batchSize: fate.batch })
  for (const { key, nature } of fate.events) {
    log.append({
      ...{ type: 1, foreignId: key, timestamp: 0 },
      metadata: new Uint8Array(nature === 'too large' ? MAX_BYTES + 1 : 1),
      headers: nature === 'cannot be held' ? { h: '\ud800' } : { nature },
    })
  }
  const destination = simulatedDestination({ keeps: fate.keeps, maxBytes: MAX_BYTES })
  let mended = false
  const letters = memoryDeadLetters()
  const checkpoints = memoryCursors()
  const skipped = new Set<string>()
  const resolved = new Set<string>()
  const lost = { tail: false }
  const natureOf = (id: string): Nature => (fate.events[Number(id) - 1] as { nature: Nature }).nature
  const keyOf = (id: string): string => (fate.events[Number(id) - 1] as { key: string }).key
  const delivered = (): string[] => destination.events.map(({ headers }) => headers[wireNames.sourceId] as string)
  const aside = (): string[] => letters.letters.filter(({ open }) => open).map(({ eventId }) => eventId)

  function transform(event: Event): Event | undefined {
    const nature = natureOf(event.id)
    if (nature === 'throws') throw new Error('no such customer')
    if (nature === 'left out') return undefined
    return nature === 'too large' && mended ? { ...event, metadata: null } : event
  }

  function process(life: Life): BridgeSpec {
    const counts = new Map<Operation, number>()
    let dead = false
    async function run<T>(operation: Operation, effect: () => Promise<T>): Promise<T> {
      if (dead) throw DEAD
      const count = counts.get(operation) ?? 0
      counts.set(operation, count + 1)
      const fault = life.at === operation && life.nth === count ? life.fault : 'none'
      if (fault === 'dies before') dead = true
      if (dead) throw DEAD
      if (fault === 'fails') throw errorOf(life)
      const result = await effect()
      if (fault === 'dies after') dead = true
      if (dead) throw DEAD
      if (fault === 'fails after') throw errorOf(life)
      return result
    }
    const sink = (flaws.sink ?? ((each) => each))({
      name: 'simulated',
      open: (to) =>
        run('open', async () => {
          const writer = await destination.sink().open(to)
          return { ...writer, append: (events, cursor) => run('append', () => writer.append(events, cursor)) }
        }),
    })
    const kept = (flaws.deadLetters ?? ((each) => each))({
      record: (route, error, event) => run('record', () => letters.record(route, error, event)),
      list: (options) => run('list', () => letters.list(options)),
      resolve: letters.resolve,
    })
    return {
      ...{ name: 'r', source: log.source, sink, transform },
      checkpoints: {
        ...checkpoints,
        get: (name) => run('get', () => checkpoints.get(name)),
        set: (name, cursor, expected) => run('save', () => checkpoints.set(name, cursor, expected)),
      },
      ...(diverts ? { deadLetters: kept } : {}),
    }
  }

  async function cursorNow(): Promise<number> {
    const { cursor = '' } = parseCheckpoint('r', await checkpoints.get('r')) ?? {}
    return Number.parseInt(cursor || '0', 10)
  }
  const check = async (): Promise<void> => {
    const there = delivered()
    const put = aside()
    const wrong = (what: string): never => {
      throw new Error(`${what}; delivered ${there.join()}, put aside ${put.join()}, resolved ${[...resolved].join()}`)
    }
    if (new Set(there).size < there.length) wrong('an event is in the destination twice')
    const recorded = letters.letters.map(({ eventId }) => eventId)
    if (new Set(recorded).size < recorded.length) wrong('an event has two letters')
    for (const id of put) {
      if (there.includes(id)) wrong(`event ${id} is in the destination, and in the dead letters`)
      const poison = ['throws', 'cannot be held'].includes(natureOf(id))
      const holder = recorded.some((other) => keyOf(other) === keyOf(id) && Number(other) < Number(id))
      if (!poison && !holder) wrong(`event ${id}, which is ${natureOf(id)}, was put aside`)
      const later = there.find((other) => keyOf(other) === keyOf(id) && Number(other) > Number(id))
      if (later !== undefined)
        wrong(`event ${later} was sent before event ${id} of its foreignId, which is a dead letter`)
    }
    for (const key of ['a', 'b', 'c']) {
      const ofKey = there.filter((id) => keyOf(id) === key).map(Number)
      if (ofKey.some((id, i) => i > 0 && id < (ofKey[i - 1] as number))) wrong(`the events of ${key} are out of order`)
    }
    if (lost.tail) return
    for (let id = 1; id <= (await cursorNow()); id++) {
      const done = there.includes(`${id}`) || put.includes(`${id}`) || skipped.has(`${id}`) || resolved.has(`${id}`)
      if (!done && natureOf(`${id}`) !== 'left out') wrong(`the checkpoint has passed event ${id}, which is nowhere`)
    }
  }

  /** Lets a process run to the head, or until it fails; resolves with what it failed with. */
  async function live(life: Life): Promise<unknown> {
    try {
      await bridge(process(life), { toHead: true })
      lost.tail = false
      return undefined
    } catch (error) {
      return error
    } finally {
      await check()
    }
  }

  for (const life of fate.lives) {
    const error = await live(life)
    switch (life.next) {
      case 'skip': {
        // Of anything else an operator cannot know whether it was not sent after all.
        const unsendable = ['poison', 'oversize'].includes(errorKind(error))
        const at = error instanceof RunError && unsendable ? error.eventId : undefined
        if (at === undefined || lost.tail) break
        const stored = await checkpoints.get('r')
        try {
          await skipEvent({ name: 'r', source: log.source, checkpoints }, { eventId: at, by: 'test', at: 0, why: 'it' })
          skipped.add(at)
        } catch (refused) {
          if ((refused as ReflexError).code !== 'SKIP_REFUSED' || stored !== (await checkpoints.get('r'))) throw refused
          // Only what the route stands at is refused by nobody.
          if (Number(at) === (await cursorNow()) + 1) throw refused
        }
        break
      }
      case 'resolve': {
        const first = letters.letters.find(({ open, eventId }) => open && life.nth < 2 && Number(eventId) > 0)
        if (first === undefined || Number(first.eventId) > (await cursorNow())) break
        first.open = false
        resolved.add(first.eventId)
        break
      }
      case 'mend':
        mended = true
        break
      case 'lose tail':
        lost.tail = true
        destination.events.splice(-1 - life.nth)
        break
      case 'wipe':
        lost.tail = true
        destination.wipe()
    }
    await check()
  }

  const error = await live(calm)
  if (error !== undefined) await checkStands(error)

  /** What a process fails with that nothing happened to: it stands right at an event that can not be sent. */
  async function checkStands(error: unknown): Promise<void> {
    if (!(error instanceof RunError) || error.eventId === undefined) throw error
    const nature = natureOf(error.eventId)
    const expected = { throws: 'poison', 'cannot be held': 'poison', 'too large': 'oversize' }[nature as string]
    if (errorKind(error) !== expected) throw new Error(`event ${error.eventId} is ${nature}, but: ${error}`)
    if (diverts && expected === 'poison')
      throw new Error(`event ${error.eventId} should be a dead letter, but: ${error}`)
    const stored = await checkpoints.get('r')
    if (stored === '' ? error.eventId !== '1' : Number(error.eventId) !== (await cursorNow()) + 1)
      throw new Error(`the route should stand right before event ${error.eventId}, but its checkpoint is ${stored}`)
  }
  return { delivered: delivered().length, putAside: aside().length, skipped: skipped.size, stands: error !== undefined }
}

function errorOf({ error }: Life): Error {
  return new ReflexError('STAGED', `it is ${error}`, { kind: error })
}
