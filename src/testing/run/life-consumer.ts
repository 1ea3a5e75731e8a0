import type { Consumer } from '../../core/consumer.ts'
import type { Event } from '../../core/event.ts'
import {
  begin,
  crash,
  elapsed,
  end,
  failure,
  isWanted,
  type Life,
  markDone,
  never,
  nextWanted,
  note,
  settleOne,
} from './life.ts'
import type { Entry } from './run-world.ts'

interface Context {
  readonly signal: AbortSignal
}

/** The consumer that a plan describes, which watches what it is asked to do. */
export function lifeConsumer(life: Life): Consumer {
  const { world, sim, plan } = life
  const { handling, handlerMs = 0, types, filter, recover } = plan
  const asynchronous = handling === 'asynchronous'
  const recoverable = recover !== undefined

  const fails = (event: Event): unknown =>
    note(life, 'handle', new Error(`event ${event.id} could not be handled`), {
      eventId: event.id,
      recoverable: recoverable && !life.aborted,
    })
  const isTold = ({ signal }: Context): void => {
    if (life.aborted && !signal.aborted && !life.dead)
      world.violate('L11', 'expected the signal of the handler to be aborted with that of the run, but it is not')
  }
  const offer = (id: string): void => {
    life.outstanding.push(Number(id))
  }
  function handleNow(event: Event, context: Context): void {
    const how = begin(life, 'handle')
    if (life.dead) throw crash
    isTold(context)
    if (handlerMs > 0) sim.jump(handlerMs)
    if (failure(how) !== undefined) throw fails(event)
    if (handling === 'background') {
      offer(event.id)
    } else markDone(life, Number(event.id))
    end(life, how)
    if (life.dead) throw crash
    isTold(context)
  }
  async function handleLater(event: Event, context: Context): Promise<void> {
    const how = begin(life, 'handle')
    if (life.dead) return never()
    life.handling++
    try {
      if (handlerMs > 0) await sim.clock.sleep(handlerMs)
      else await sim.turn()
      if (life.dead) return never()
      isTold(context)
      if (failure(how) !== undefined) throw fails(event)
      markDone(life, Number(event.id))
      end(life, how)
      if (life.dead) return never()
      isTold(context)
      life.yieldedAt = elapsed(life)
    } finally {
      life.handling--
    }
  }

  const consumer: Consumer = {
    name: 'c',
    handle: (event, context) => {
      if (life.dead) throw crash
      checkHandle(life, event)
      return asynchronous ? handleLater(event, context) : handleNow(event, context)
    },
  }
  if (types !== undefined) Object.assign(consumer, { types })
  if (filter === true) {
    consumer.filter = ({ id }) => {
      if (life.dead) throw crash
      const how = begin(life, 'filter')
      if (life.dead) throw crash
      if (failure(how) !== undefined) {
        const error = new Error(`the filter failed at event ${id}`)
        throw note(life, 'filter', error, { eventId: id, recoverable: recoverable && !life.aborted })
      }
      end(life, how)
      if (life.dead) throw crash
      return Number(id) % 2 === 0
    }
  }
  if (recoverable) {
    const recovered: NonNullable<Consumer['recover']> = (error, event) => {
      if (life.dead) throw crash
      const last = life.thrown.at(-1)
      if (last?.error !== error || last?.eventId !== event.id)
        world.violate(
          'L3',
          `expected recover to be asked about what was thrown, but it is asked about event ${event.id}`,
        )
      if (last?.afterAbort) world.violate('L11', 'expected recover not to be asked after the abort')
      life.thrown.pop()
      if (recover === 'throws')
        throw note(life, 'handle', new Error(`event ${event.id} could not be recovered`), { eventId: event.id })
      if (handling === 'background' && last?.on === 'handle') offer(event.id)
      else {
        for (let left = life.outstanding.length; left > 0; left--) settleOne(life)
        markDone(life, Number(event.id))
      }
      // What is skipped here had not been offered, if its filter failed.
      life.offered = Math.max(life.offered, Number(event.id))
    }
    // Where the handler takes its time, this does as well: an error is a promise that rejects.
    consumer.recover = handling === 'asynchronous' ? async (...about) => recovered(...about) : recovered
  }
  if (plan.hooks === true || handling === 'background') {
    consumer.start = ({ fail }) => {
      if (life.dead) throw crash
      if (life.started !== 'no') world.violate('L8', 'expected the consumer to be started once, but it is again')
      life.started = 'begun'
      life.fail = fail
      return hook('start', () => {
        life.started = 'yes'
      })
    }
    consumer.stop = ({ signal }) => {
      if (life.dead) throw crash
      life.stops++
      if (life.started !== 'yes')
        world.violate('L8', 'expected stop to be called for a consumer that has started, but it has not')
      if (life.stops > 1) world.violate('L8', 'expected the consumer to be stopped once, but it is again')
      if (life.handling > 0) world.violate('L8', 'expected stop to wait for the handler, but it is at work')
      if (signal.aborted) world.violate('L7', 'expected stop to be given a live signal, but it is aborted')
      return hook('stop', () => {
        for (let left = life.outstanding.length; left > 0; left--) settleOne(life)
        life.stopped = true
      })
    }
  }
  function hook(on: 'start' | 'stop', effect: () => void): void | Promise<void> {
    const how = begin(life, on)
    if (life.dead) return never()
    const finish = (): undefined | Promise<never> => {
      if (life.dead) return never()
      if (failure(how) !== undefined) {
        if (on === 'start') life.started = 'failed'
        throw note(life, on, new Error(`the consumer could not ${on}`))
      }
      effect()
      end(life, how)
      if (life.dead) return never()
    }
    return asynchronous ? sim.turn().then(finish) : finish()
  }
  if (handling === 'background') {
    consumer.settled = () => (life.outstanding.length > 0 ? life.settledTo : undefined)
  }
  return consumer
}

/** Whether this event is the one whose turn it is, and everything is as it has to be by now. */
function checkHandle(life: Life, event: Event): undefined {
  const { world, plan } = life
  const { violate } = world
  const position = Number(event.id)
  const entry = world.entries[position] as Entry
  if (life.settled) violate('Y1', `expected nothing to go on after the end, but event ${event.id} is handled`)
  if (life.handling > 0)
    violate('L10', `expected one event at a time, but event ${event.id} is handled while the one before is`)
  if (life.stops > 0) violate('L8', `expected nothing to be handled once stop was called, but event ${event.id} is`)
  if (!isWanted(plan, entry, position))
    return violate('L9', `expected event ${event.id}, of type ${entry.type}, to be skipped, but it is handled`)
  if (life.over !== undefined) {
    const property = life.thrown.at(-1)?.on === 'set' ? 'L6' : 'L3'
    violate(property, `expected nothing to be handled after ${life.over}, but event ${event.id} is`)
  }
  if (life.aborted) violate('L11', `expected nothing to be handled after the abort, but event ${event.id} is`)
  checkOrder(life, position)
  checkSaves(life, position)
  checkTime(life, event, entry)
  life.offered = position
  life.sleptMs = 0
}

function checkOrder(life: Life, position: number): undefined {
  const { world, start = 0, offered, plan } = life
  const { violate } = world
  if (position <= offered)
    return violate('L5', `expected no event twice in one run, but after event ${offered} event ${position} is handled`)
  const next = nextWanted(life, Math.max(start, offered))
  if (next !== undefined && next < position)
    return violate('L1', `expected event ${next} to be next, but it is skipped, and event ${position} is handled`)
  if (position <= start)
    return violate('O4', `expected events after the cursor ${start} only, but event ${position} is handled`)
  const { failedAt } = world
  if (failedAt !== undefined && offered === 0) {
    // It may have been handled by a process that crashed, whose save arrived late.
    const entry = world.entries[failedAt]
    if (entry !== undefined && isWanted(plan, entry, failedAt)) {
      if (position > failedAt && !world.done[failedAt] && !world.excused[failedAt])
        violate('L4', `expected event ${failedAt}, which had failed, to be the first, but event ${position} is`)
    }
    world.failedAt = undefined
  }
  if (world.done[position] && world.repeatable[position] !== true && !world.crowded)
    violate(
      'L5',
      `expected event ${position} once: it was handled, and no crash and no failed save came since; but it is handled again`,
    )
}

/** What came before in earlier batches is saved. */
function checkSaves(life: Life, position: number): void {
  const { world, batches, plan } = life
  for (let batch = batches[life.batch]; batch !== undefined && batch.to < position; batch = batches[life.batch]) {
    life.batch++
    const isPin = life.pinHead && life.batch === 1
    if (batch.to <= life.saved || (plan.handling === 'background' && !isPin)) continue
    if (isPin)
      world.violate(
        'L14',
        `expected the pinned position ${batch.to} to be saved first, but event ${position} is handled`,
      )
    else
      world.violate(
        'L5',
        `expected the cursor to be saved after each batch, but ${batch.to} is not, and event ${position} of the next one is handled`,
      )
  }
  if (plan.handling === 'background' || life.unsavedSince === undefined) return
  if (life.lastDoneAt - life.unsavedSince > 1010)
    world.violate(
      'L18',
      `expected what is handled to be saved within 1,000 ms, but after ${Math.round(life.lastDoneAt - life.unsavedSince)} ms it is not, and event ${position} is handled`,
    )
}

function checkTime(life: Life, event: Event, { timestamp }: Entry): void {
  const { world, plan, batches } = life
  const { delayMs = 0, handling, handlerMs = 0 } = plan
  const now = elapsed(life)
  if (delayMs > 0) {
    const jumped = world.offset !== life.offsetAtStart
    const received = batches.at(life.batch)?.at ?? now
    const due = Math.min(timestamp, received + world.offset) + delayMs
    if (!jumped && now + world.offset < due - 0.5)
      world.violate(
        'S16',
        `expected event ${event.id} to be held back for ${due - now - world.offset} ms more, by delayMs ${delayMs}, but it is handled`,
      )
    const free = Math.max(received, life.lastDoneAt) + world.offset
    const atMost = jumped ? delayMs : Math.max(0, Math.min(timestamp, free) + delayMs - free)
    if (life.sleptMs > atMost + 0.5)
      world.violate(
        'S16',
        `expected event ${event.id} to be held back for no more than ${atMost} ms, by delayMs ${delayMs}, but the run waited for ${life.sleptMs} ms`,
      )
  }
  if (handling !== 'asynchronous' && handlerMs > 0 && !world.crowded && now - life.yieldedAt > 10 + handlerMs)
    world.violate(
      'L16',
      `expected the event loop to be let in every 10 ms, but it was not for ${Math.round(now - life.yieldedAt)} ms`,
    )
}
