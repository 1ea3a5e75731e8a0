import { untilAborted } from '../../core/abort.ts'
import type { Batch } from '../../core/event.ts'
import type { EventStream, StreamFunc } from '../../core/stream.ts'
import { abort, begin, elapsed, end, failure, type Life, never, nextWanted, note, settleOne } from './life.ts'
import { positionOf } from './run-world.ts'

/** The log, as one process sees it. */
export function lifeStream(life: Life): StreamFunc {
  const { world, sim, plan } = life
  return async (after, options) => {
    if (life.dead) return never()
    const { violate } = world
    if (life.settled) violate('Y1', 'expected nothing to go on after the end, but a stream is opened')
    if ((life.counts.open ?? 0) > 0)
      violate('L3', 'expected one stream in a run, and the end when it fails, but another one is opened')
    if (life.got === undefined) violate('L8', 'expected the cursor to be read before the stream is opened')
    else if (after !== life.got)
      violate(
        'O4',
        `expected the stream to be opened after ${JSON.stringify(life.got)}, which is stored, but it is after ${JSON.stringify(after)}`,
      )
    const pins = plan.fromHead === true && life.got === ''
    if ((options.fromHead === true) !== pins)
      violate(
        'L14',
        `expected fromHead ${pins ? 'while no cursor is stored' : 'not to be used'}, but it is ${String(options.fromHead)}`,
      )
    if ((options.toHead === true) === (plan.endless === true))
      violate(
        'L13',
        `expected toHead ${plan.endless !== true}, but the stream is opened with ${String(options.toHead)}`,
      )
    if (life.aborted) violate('L11', 'expected no stream to be opened after the abort')
    const how = begin(life, 'open')
    if (life.dead || how === 'abort, hangs') return never()
    await sim.turn()
    if (life.dead) return never()
    if (failure(how) === 'refused') throw note(life, 'open', new Error('the server refused'))
    let inner: EventStream
    try {
      inner = await world.log.source.stream(after, { ...options, signal: undefined })
    } catch (error) {
      throw note(life, 'open', error)
    }
    end(life, how)
    if (life.dead) return never()
    if (failure(how) === 'after') {
      await inner[Symbol.asyncDispose]()
      throw note(life, 'open', new Error('the reply of the server is lost'))
    }
    life.opens++
    life.pinHead = pins
    life.head = world.head()
    if (pins) life.start = life.head
    else if (after !== '') life.start = positionOf(after)
    return reader(life, inner, options.signal)
  }
  function reader(life: Life, inner: EventStream, signal: AbortSignal | undefined): EventStream {
    let closed = false
    let position = life.start ?? 0
    let buffered: Batch | undefined
    const iterator = inner[Symbol.asyncIterator]()
    const done = { done: true, value: undefined } as const

    async function read(): Promise<IteratorResult<Batch>> {
      checkRead(life)
      const how = begin(life, 'read')
      if (life.dead || how === 'abort, hangs') return never()
      life.reading = true
      try {
        await sim.turn()
        if (closed) return done
        if (life.dead) return never()
        if (how === 'ends') {
          life.streamEnded = plan.endless === true ? 'broken' : 'cut'
          return done
        }
        if (failure(how) !== undefined) throw note(life, 'read', new Error('the connection to the server is gone'))
        if (buffered === undefined) {
          let result: IteratorResult<Batch>
          try {
            result = await iterator.next()
          } catch (error) {
            throw note(life, 'read', error)
          }
          if (life.dead) return never()
          if (closed) return done
          if (result.done) {
            life.streamEnded = 'head'
            end(life, how)
            return life.dead ? never() : done
          }
          buffered = result.value
          if (life.start === undefined) {
            life.start = Math.min(world.base, Number(buffered.events[0]?.id ?? world.base + 1) - 1)
            position = life.start
          }
        }
        const batch = part(buffered)
        end(life, how)
        if (life.dead) return never()
        life.yieldedAt = elapsed(life)
        life.batches.push({ to: position, at: elapsed(life) })
        if (plan.handling === 'background') life.sleptMs = 0 // what it waited for was not this batch to be old enough
        return { done: false, value: batch }
      } finally {
        life.reading = false
      }
    }
    function part({ events, cursor }: Batch): Batch {
      const last = Number(cursor)
      const from = position
      position = Math.min(Math.max(from, 0) + (plan.batch ?? 3), last)
      if (position >= last) {
        buffered = undefined
        if (from === (life.start ?? 0) && events.every(({ id }) => Number(id) > from)) return { events, cursor }
      }
      return {
        events: events.filter(({ id }) => Number(id) > from && Number(id) <= position),
        cursor: String(position),
      }
    }
    async function close(): Promise<void> {
      if (life.dead) return never()
      if (closed) return
      closed = true
      life.closes++
      const how = begin(life, 'close')
      if (life.dead) return never()
      await inner[Symbol.asyncDispose]()
      end(life, how)
      if (life.dead) return never()
      if (failure(how) !== undefined) throw note(life, 'close', new Error('the connection could not be closed'))
    }
    let iterated = false
    return {
      ...(inner.incarnation === undefined ? {} : { incarnation: inner.incarnation }),
      [Symbol.asyncIterator]: () => {
        if (iterated) world.violate('L17', 'expected a stream to be iterated once')
        iterated = true
        return {
          next: () => (life.dead ? never() : untilAborted(read(), signal)),
          return: async () => {
            await close()
            return done
          },
        }
      },
      [Symbol.asyncDispose]: close,
    }
  }
}

/** Rule 7: while one batch is handled, the next may be read, and no more. */
function checkRead(life: Life): void {
  const { world, batches } = life
  if (life.settled) world.violate('Y1', 'expected nothing to go on after the end, but the stream is read')
  if (life.reading) world.violate('L17', 'expected one read at a time')
  const before = batches.at(-2)
  if (before === undefined || life.over !== undefined || life.aborted || life.plan.handling === 'background') return
  const next = nextWanted(life, Math.max(life.doneTo, life.start ?? 0), before.to)
  if (next !== undefined)
    world.violate(
      'L17',
      `expected at most one batch to be read ahead, but event ${next} is not handled, and the batch after the next one to it is read`,
    )
}

/** An hour after nothing else goes on, the process is told to end. */
export async function abortInAnHour(life: Life): Promise<void> {
  // With a signal of its own, which is not the one whose listeners are counted.
  const earlier = new AbortController()
  life.onAbort = () => earlier.abort()
  try {
    await life.sim.clock.sleep(3_597_000, earlier.signal)
    for (let left = life.stops === 0 ? life.outstanding.length : 0; left > 0; left--) settleOne(life)
    await life.sim.clock.sleep(3000, earlier.signal)
  } catch {
    return
  }
  checkIdle(life)
  abort(life)
}

/** Where only the read is waited for, everything that was handed out is saved. */
function checkIdle(life: Life): void {
  const { batches, saved, world, plan } = life
  if (life.dead || life.settled || life.aborted || life.over !== undefined || life.outstanding.length > 0) return
  if (life.handling + life.saving + life.sleeping > 0 || life.stops > 0) return
  const last = batches.at(-1)
  if (life.reading && last !== undefined && last.to > saved)
    world.violate(
      plan.handling === 'background' ? 'L18' : 'L9',
      `expected the cursor at ${last.to}, the position that was reached, but an idle run has ${life.known === '' ? 'none' : life.known} saved`,
    )
}
